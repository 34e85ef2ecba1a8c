/**
 * Errors about a file or folder that a user named: they say the option, the path, the cause and the remedy.
 */

const causes: Record<string, string> = {
  ENOENT: 'there is no such file or folder',
  EEXIST: 'there is a file of this name already',
  EISDIR: 'it is a folder, and a file is needed',
  ENOTDIR: 'it is a file, and a folder is needed',
  EACCES: 'this user may not open it (permission denied)',
  EPERM: 'this user may not open it (permission denied)',
  EROFS: 'its file system is read-only',
  ENOSPC: 'the disk is full',
  ELOOP: 'its symbolic links lead in a circle',
  ENAMETOOLONG: 'its name is too long',
  EMFILE: 'this process has too many files open (ulimit -n)',
}

/** A file that a user named cannot be used. The message says everything; no stack is needed. */
export class FileProblem extends Error {
  /**
   * @param what the role of the file and its option: `The token file (--token-file)`
   * @param remedy one sentence: what to do
   * @param cause what the file system threw
   */
  constructor(what: string, path: string, remedy: string, cause: unknown) {
    super(`${what} ${path} cannot be used: ${reasonOf(cause)}. ${remedy}`, { cause })
    this.name = 'FileProblem'
  }
}

/** True for an error of the file system. */
export function isFileError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return causes[code ?? ''] ?? message
}

/** Runs `work`. Errors of the file system become a `FileProblem`, others are passed on. */
export async function naming<T>(
  what: string,
  path: string,
  remedy: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw isFileError(error) ? new FileProblem(what, path, remedy, error) : error
  }
}
