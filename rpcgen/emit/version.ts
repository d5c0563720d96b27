/** The compiler's version, as the head of its output tells it: that of package.json, which a test compares. */

export const VERSION = '0.1.0';
