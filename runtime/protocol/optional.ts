/**
 * Packages that only some users need. They are optional dependencies (docs/decisions/0021-packages.md): npm installs them
 * unless it is run with --omit=optional, and they are imported when they are first used.
 */

/** An optional package is not installed, or does not load on this platform; `cause` is the reason. */
export class MissingPackageError extends Error {
  override readonly name = 'MissingPackageError';
  readonly code = 'PACKAGE_MISSING';
}

/**
 * What `load` imports. Throws {@link MissingPackageError}, which says what needs the package `name`, where it fails.
 * `load` is a function with a literal `import()`, so that bundlers find the package.
 */
export async function importOptional<T>(name: string, user: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const why = code === 'ERR_MODULE_NOT_FOUND' ? 'is not installed' : 'does not load on this platform';
    throw new MissingPackageError(`${user} needs the package ${name}, which ${why}: npm install ${name}`, {
      cause,
    });
  }
}
