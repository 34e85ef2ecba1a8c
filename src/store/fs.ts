/**
 * The file-system operations of the store, as an interface: tests inject a file system that forgets what was
 * not fsynced, or one that fails at a chosen operation. Knows no packs, domains or layout.
 */
import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
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

/** Errors are Node's: they carry `code` (`ENOENT`, `ENOSPC`, ...). */
export interface StoreFs {
  /** Creates one folder, not its parents; `EEXIST` where it exists. */
  mkdir(path: string): Promise<void>
  /** Names in a folder. */
  list(path: string): Promise<string[]>
  stat(path: string): Promise<{ bytes: number; folder: boolean }>
  read(path: string): Promise<Uint8Array>
  /** Opens a new file for writing; `EEXIST` where it exists. */
  create(path: string): Promise<StoreFile>
  /** Replaces `to` atomically. */
  rename(from: string, to: string): Promise<void>
  /** Unlinks a file. */
  remove(path: string): Promise<void>
  openFolder(path: string): Promise<StoreFolder>
  /** Locks the folder for this process; the returned function unlocks it.
   * @throws LockedError where another process holds the lock */
  lock(path: string): Promise<() => Promise<void>>
}

/** The real file system. */
export const nodeFs: StoreFs = {
  mkdir: (path) => mkdir(path),
  list: (path) => readdir(path),
  async stat(path) {
    const found = await stat(path)
    return { bytes: found.size, folder: found.isDirectory() }
  },
  read: (path) => readFile(path),
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
  lock: (path) => lockFolder(join(path, 'lock')),
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
