/** The version of the compiler, for the header of its output. A test checks that it equals that of package.json. */

export const VERSION = '0.1.0';
