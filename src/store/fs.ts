/**
 * The file-system operations of the store, as an interface: tests inject a file system that forgets what was
 * not fsynced, or one that fails at a chosen operation. Knows no packs, domains or layout.
 */
import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, rename, unlink } from 'node:fs/promises'
import { lockFolder } from './lock.js'

/** A file being written for the first time. */
export interface StoreFile {
  /** Appends from `bytes`; returns how many bytes were written, which may be fewer than given. */
  write(bytes: Uint8Array): Promise<number>
  /** fsync of the file's data and size. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** A folder, open. */
export interface StoreFolder {
  /** fsync: makes creations, renames and removals in the folder durable, also those made after it
   * was opened. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** What is at a path. `other`: a symbolic link, a socket, a device. */
export interface Entry {
  bytes: number
  kind: 'file' | 'folder' | 'other'
}

/** Errors are Node's: they carry `code` (`ENOENT`, `ENOSPC`, ...). */
export interface StoreFs {
  /** Creates one folder, not its parents; `EEXIST` where it exists. */
  mkdir(path: string): Promise<void>
  /** Names in a folder. */
  list(path: string): Promise<string[]>
  /** What is at the path itself: a link is not followed. */
  stat(path: string): Promise<Entry>
  /** A regular file's bytes. `ELOOP` for a link, which is not followed; `EFTYPE` for what else is no regular file;
   * `EFBIG` for one of more than `maxBytes`. */
  read(path: string, maxBytes: number): Promise<Uint8Array>
  /** The first bytes of a regular file, fewer where it is shorter. Errors as `read`. */
  readStart(path: string, bytes: number): Promise<Uint8Array>
  /** Opens a new file for writing; `EEXIST` where it exists. */
  create(path: string): Promise<StoreFile>
  /** Replaces `to` atomically. */
  rename(from: string, to: string): Promise<void>
  /** Unlinks a file. */
  remove(path: string): Promise<void>
  openFolder(path: string): Promise<StoreFolder>
  /** Takes the lock that is kept in the folder `path`, which is created where it is missing; the returned function
   * gives it back.
   * @throws LockedError where another process holds the lock */
  lock(path: string): Promise<() => Promise<void>>
}

/** The real file system. */
export const nodeFs: StoreFs = {
  mkdir: (path) => mkdir(path),
  list: (path) => readdir(path),
  async stat(path) {
    const found = await lstat(path)
    return { bytes: found.size, kind: found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other' }
  },
  read: (path, maxBytes) =>
    withFile(path, async (file, bytes) => {
      if (bytes > maxBytes) throw fileError('EFBIG', `${bytes} bytes, ${maxBytes} are read at most`, path)
      return readFirst(file, bytes)
    }),
  readStart: (path, bytes) => withFile(path, (file, size) => readFirst(file, Math.min(bytes, size))),
  async create(path) {
    const file = await open(path, 'wx')
    return {
      write: async (bytes) => (await file.write(bytes)).bytesWritten,
      sync: () => file.sync(),
      close: () => file.close(),
    }
  },
  rename,
  remove: unlink,
  openFolder: (path) => open(path, 'r'),
  lock: lockFolder,
}

/**
 * The first bytes of a file, fewer where it is shorter. Not `readFile`, which asks for the size once more and reads on to
 * the end: that takes twice as many calls, which is most of the time of a small file.
 */
async function readFirst(file: FileHandle, bytes: number): Promise<Uint8Array> {
  const first = new Uint8Array(bytes)
  for (let at = 0; at < bytes; ) {
    const { bytesRead } = await file.read(first, at, bytes - at, at)
    if (bytesRead === 0) return first.subarray(0, at)
    at += bytesRead
  }
  return first
}

/** Opens a regular file while `use` runs. A link is not followed, and a pipe is not waited for. */
async function withFile<T>(path: string, use: (file: FileHandle, bytes: number) => Promise<T>): Promise<T> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const found = await file.stat()
    if (!found.isFile()) throw fileError('EFTYPE', 'not a regular file', path)
    return await use(file, found.size)
  } finally {
    await file.close()
  }
}

/** An error as Node throws it. */
export function fileError(code: string, what: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${what}, '${path}'`), { code })
}

/** Creates a folder; one that is there is as good. @throws `ENOTDIR` where something else is, a link too */
export async function ensureFolder(fs: Pick<StoreFs, 'mkdir' | 'stat'>, path: string): Promise<void> {
  try {
    await fs.mkdir(path)
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
    if ((await fs.stat(path)).kind !== 'folder') throw fileError('ENOTDIR', 'a link, or no folder', path)
  }
}

/** Opens a folder while `use` runs. Nothing is written through it, so an error of closing it
 * loses nothing. */
export async function withFolder<T>(
  fs: Pick<StoreFs, 'openFolder'>,
  path: string,
  use: (folder: StoreFolder) => Promise<T>,
): Promise<T> {
  const folder = await fs.openFolder(path)
  try {
    return await use(folder)
  } finally {
    await folder.close().catch(() => undefined)
  }
}

/** Node's error code, where the error has one. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}
