/**
 * One durable write: a temporary file, all its bytes, fsync, rename, fsync of the folder.
 *
 * After a failed fsync the kernel may have dropped the dirty pages, and the next fsync then reports success.
 * So no fsync is ever repeated on the same file or folder (PostgreSQL found this in 2018,
 * https://lwn.net/Articles/752063/). A file whose fsync failed is thrown away, which is safe because nothing
 * names it yet. Where the fsync of a folder failed, the outcome is unknown: `UnknownOutcome`.
 *
 * The folder is opened before anything is changed in it, so that a process without free file descriptors
 * fails before the change.
 */
import { dirname } from 'node:path'
import { ensureFolder, errorCode, type StoreFile, type StoreFolder, type StoreFs, withFolder } from './fs.js'
import { KeyedQueue } from '../concurrency/keyed-queue.js'

/** The disk may hold the old state or the new one, and no further call would tell which of them survives a
 * crash. */
export class UnknownOutcome extends Error {
  constructor(cause: unknown) {
    super('the outcome of a write is unknown', { cause })
    this.name = 'UnknownOutcome'
  }
}

/** Makes the changes of one data folder durable. After a failed fsync of a folder every further
 * change fails. */
export class DurableWriter {
  readonly #fs: StoreFs
  readonly #queue = new KeyedQueue()
  /** By folder: the fsync that begins when the present one has ended. */
  readonly #next = new Map<string, Promise<void>>()
  #failure: unknown

  constructor(fs: StoreFs) {
    this.#fs = fs
  }

  /**
   * Writes `bytes` to `target`, whose folder exists and is durable.
   * @throws UnknownOutcome, or Node's error; nothing has changed then and the temporary file is gone
   */
  replaceFile(temporary: string, target: string, bytes: Uint8Array): Promise<void> {
    return this.#within(dirname(target), async () => {
      const file = await this.#fs.create(temporary)
      let renaming = false
      try {
        await fill(file, bytes)
        renaming = true
        await this.#fs.rename(temporary, target)
      } catch (error) {
        const left = await discard(this.#fs, temporary)
        // A rename that reports an error and yet removed its source took place (network file systems do
        // this).
        if (renaming && !left) throw new UnknownOutcome(error)
        throw error
      }
    })
  }

  /** Unlinks `target` durably; a no-op where it is missing. @throws UnknownOutcome, or Node's error */
  removeFile(target: string): Promise<void> {
    return this.#within(dirname(target), async () => {
      try {
        await this.#fs.remove(target)
      } catch (error) {
        if (errorCode(error) !== 'ENOENT') throw error
      }
    })
  }

  /** Creates a folder durably in a folder that is durable; a no-op where it exists. @throws UnknownOutcome,
   * or Node's error */
  makeFolder(path: string): Promise<void> {
    return this.#within(dirname(path), () => ensureFolder(this.#fs, path))
  }

  /** Makes the names in a folder durable. @throws UnknownOutcome, or Node's error where it cannot
   * be opened */
  syncFolder(path: string): Promise<void> {
    return this.#within(path, async () => {})
  }

  /** Changes something in a folder and makes it durable. */
  #within(path: string, change: () => Promise<void>): Promise<void> {
    return withFolder(this.#fs, path, async (folder) => {
      await change()
      await this.#sync(path, folder)
    })
  }

  /**
   * One fsync at a time per folder: a failure is reported once, so an fsync beside the failing one could
   * succeed without having saved anything. All changes that wait for the present fsync share the next one.
   * @throws UnknownOutcome, also for every call after a failed one
   */
  #sync(path: string, folder: StoreFolder): Promise<void> {
    const next = this.#next.get(path)
    if (next !== undefined) return next
    const mustWait = this.#queue.busy(path)
    const synced = this.#queue.run(path, async () => {
      this.#next.delete(path)
      if (this.#failure !== undefined) throw new UnknownOutcome(this.#failure)
      try {
        await folder.sync()
      } catch (error) {
        this.#failure = error
        throw new UnknownOutcome(error)
      }
    })
    if (mustWait) this.#next.set(path, synced)
    return synced
  }
}

/** Writes all bytes, makes them durable and closes the file. */
async function fill(file: StoreFile, bytes: Uint8Array): Promise<void> {
  try {
    for (let written = 0; written < bytes.length; ) {
      const taken = await file.write(bytes.subarray(written))
      if (taken <= 0) throw Object.assign(new Error('the file takes no more bytes'), { code: 'EIO' })
      written += taken
    }
    await file.sync()
  } catch (error) {
    // The first failure is reported, not that of closing.
    await file.close().catch(() => undefined)
    throw error
  }
  await file.close()
}

/** Removes a temporary file; false where it was not there. A file that cannot be removed is removed at the
 * next start. */
async function discard(fs: StoreFs, temporary: string): Promise<boolean> {
  try {
    await fs.remove(temporary)
    return true
  } catch (error) {
    return errorCode(error) !== 'ENOENT'
  }
}
