/** Opening a data folder: create it where it is missing, take its lock, read it, clean up after a crash. */
import { basename, dirname, join } from 'node:path'
import type { Logger } from 'pino'
import { sideBySide } from '../concurrency/side-by-side.js'
import { FacetError } from '../errors.js'
import { type DurableWriter, UnknownOutcome } from './durable.js'
import { reason, writeFailure } from './failures.js'
import { ensureFolder, errorCode, type StoreFs, withFolder } from './fs.js'
import { type Layout, STORE_FORMAT } from './layout.js'
import { LockedError } from './lock.js'
import { checkFormat, foreignEntries, lostRecords, type Scan, scan } from './scan.js'
import { quoted } from '../shown-text.js'

/** Folders that are made durable side by side. */
const SYNCS = 16
/** Entries that a message names. */
const NAMED_ENTRIES = 5

export interface OpenFolder {
  found: Scan
  /** Why nothing may be written, or null. */
  refusal: string | null
  /** Gives the lock back. */
  unlock: () => Promise<void>
}

/** @throws FacetError `store_failed` when the folder is locked, somebody else's, of a newer format or not readable */
export async function openFolder(
  fs: StoreFs,
  disk: DurableWriter,
  layout: Layout,
  log: Logger | undefined,
): Promise<OpenFolder> {
  let refusal: string | null = null
  let unlock = async (): Promise<void> => {}
  try {
    // Before the lock: it makes a folder, and a folder that is somebody else's stays as it is.
    if (await isThere(fs, layout.root)) await isStore(fs, layout)
    await makeFolders(fs, layout.root)
    unlock = await lockData(fs, layout)
  } catch (error) {
    // A folder that cannot be written is served as it is. It needs no lock, because this process changes
    // nothing in it.
    if (!isReadOnly(error)) throw error instanceof FacetError ? error : unusable(layout, error)
    refusal = `The store is read-only (${errorCode(error)}): changes are refused.`
  }
  try {
    if (!(await isStore(fs, layout))) {
      if (refusal !== null) throw unusable(layout, 'it is empty and cannot be written')
      await initialise(fs, disk, layout)
    }
    const found = await scan(fs, layout)
    refusal ??= await tidy(fs, disk, layout, found, log)
    return { found, refusal, unlock }
  } catch (error) {
    await unlock()
    throw error
  }
}

/** Takes the lock of a data folder. @throws FacetError `store_failed` that names the holder; Node's
 * errors */
export async function lockData(fs: StoreFs, layout: Layout): Promise<() => Promise<void>> {
  try {
    return await fs.lock(layout.lock)
  } catch (error) {
    if (!(error instanceof LockedError)) throw error
    throw new FacetError(
      'store_failed',
      `The data folder ${layout.root} is ${error.message}: stop that one, or use another folder (--data).`,
      { cause: error },
    )
  }
}

export function isReadOnly(error: unknown): boolean {
  const code = errorCode(error)
  return code === 'EROFS' || code === 'EACCES'
}

function unusable(layout: Layout, why: unknown): FacetError {
  const text = why instanceof Error ? why.message : String(why)
  return new FacetError(
    'store_failed',
    `The data folder (--data) ${layout.root} cannot be used: ${text}. Name a folder that is there and yours, or one that can be made.`,
    { cause: why },
  )
}

async function isThere(fs: StoreFs, folder: string): Promise<boolean> {
  return fs.list(folder).then(
    () => true,
    () => false,
  )
}

/** Whether the folder is a store; false for one that may become one. @throws FacetError `store_failed` for any other */
async function isStore(fs: StoreFs, layout: Layout): Promise<boolean> {
  if (await checkFormat(fs, layout)) return true
  const foreign = await foreignEntries(fs, layout)
  if (foreign.length === 0) return false
  const named = foreign.slice(0, NAMED_ENTRIES).map((name) => quoted(name))
  const more = foreign.length - named.length
  throw new FacetError(
    'store_failed',
    `The data folder (--data) ${layout.root} is no store and holds what a store does not make: ${named.join(', ')}` +
      `${more > 0 ? ` and ${more} more` : ''}. A store is made in a new or empty folder only: name one, such as ` +
      `${join(layout.root, 'store')}. Nothing has changed.`,
  )
}

/** Creates a folder with its parents, each durable before the next. */
async function makeFolders(fs: StoreFs, path: string): Promise<void> {
  try {
    await fs.mkdir(path)
  } catch (error) {
    const code = errorCode(error)
    if (code !== 'EEXIST' && code !== 'ENOENT') throw error
    if (code === 'ENOENT') {
      await makeFolders(fs, dirname(path))
      await fs.mkdir(path).catch(ignoreExisting)
    }
  }
  // Also where the folder exists: the process may have been killed right after it created it. A parent that
  // this process may not open was not changed by it and needs no fsync.
  await withFolder(fs, dirname(path), (folder) => folder.sync()).catch((error: unknown) => {
    if (!isReadOnly(error)) throw error
  })
}

/** Turns an empty folder into a store. FORMAT is written first, because blobs and domains without it are no
 * store. */
async function initialise(fs: StoreFs, disk: DurableWriter, layout: Layout): Promise<void> {
  try {
    await ensureFolder(fs, layout.temporary)
    await fs.remove(layout.temporaryFormat).catch(ignoreMissing)
    await disk.replaceFile(layout.temporaryFormat, layout.format, Buffer.from(`${STORE_FORMAT}\n`))
  } catch (error) {
    throw writeFailure(error)
  }
}

/**
 * Removes temporary files, creates missing folders, and makes everything that was found durable. A process
 * killed between a rename and the fsync of its folder leaves a state that a power cut could still undo; from
 * now on it is served.
 * @returns why nothing may be written, or null
 */
async function tidy(
  fs: StoreFs,
  disk: DurableWriter,
  layout: Layout,
  found: Scan,
  log: Logger | undefined,
): Promise<string | null> {
  for (const name of found.temporary) {
    try {
      await fs.remove(layout.temporaryFile(name))
      log?.info({ name }, 'store: removed the temporary file of an interrupted write')
    } catch (error) {
      log?.warn({ err: error, name }, 'store: a temporary file stays')
    }
  }
  try {
    const present = await fs.list(layout.root)
    // Where the records are gone their folder stays away until one is written: the next start tells it again.
    const records = found.hasRecords || !lostRecords(found) ? [layout.domains] : []
    for (const path of [layout.blobs, ...records, layout.temporary]) {
      if (!present.includes(basename(path))) await fs.mkdir(path)
    }
    const folders = found.prefixes.map((prefix) => layout.prefixFolder(prefix))
    for (const path of [layout.root, layout.blobs, ...records]) await disk.syncFolder(path)
    await sideBySide(folders, SYNCS, (path) => disk.syncFolder(path))
    return null
  } catch (error) {
    log?.error({ err: error }, 'store: recovery could not write')
    const cause = error instanceof UnknownOutcome ? error.cause : error
    return `The store cannot be written (${reason(cause)}): changes are refused until the service is restarted.`
  }
}

function ignoreExisting(error: unknown): void {
  if (errorCode(error) !== 'EEXIST') throw error
}

function ignoreMissing(error: unknown): void {
  if (errorCode(error) !== 'ENOENT') throw error
}
