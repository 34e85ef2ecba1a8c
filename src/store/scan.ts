/**
 * Reads a data folder and lists what is wrong with it. Changes nothing: `LocalStore.open` recovers from what
 * is found, `verifyStore` reports it.
 */
import { basename, join } from 'node:path'
import { sideBySide } from '../concurrency/side-by-side.js'
import { FacetError } from '../errors.js'
import { readFailure, reason } from './failures.js'
import { type Entry, errorCode, type StoreFs } from './fs.js'
import {
  domainOfFile,
  isBlobPrefix,
  isTemporaryName,
  type Layout,
  MAX_FORMAT_BYTES,
  MAX_RECORD_BYTES,
  STORE_FORMAT,
  versionOfFile,
} from './layout.js'
import { isLockName } from './lock.js'
import { decodeRecord, RecordError } from './record.js'
import type { DomainRecord, StoredRecord, StoreProblem } from './store.js'
import { printable } from '../shown-text.js'

/** Files that are looked at side by side. */
const READERS = 16

/** Packs that a killed process leaves without a record where there was none before: those of uploads under way. */
const MAX_INTERRUPTED = 8

/** Entries of an empty folder: ext4 has this one at the root of each file system. */
const NOBODYS = new Set(['lost+found'])

export interface Scan {
  records: Map<string, StoredRecord>
  /** Bytes of each blob, by version. */
  blobs: Map<string, number>
  /** Prefix folders of `blobs/` that exist. */
  prefixes: string[]
  /** Files in `tmp/` that the store made. */
  temporary: string[]
  /** Domains that have a record which cannot be read. */
  unreadable: Set<string>
  /** Whether there is a folder `domains/`. */
  hasRecords: boolean
  problems: StoreProblem[]
}

/** Whether the folder is a store that this service reads; false for a folder that never was a store.
 * @throws FacetError `store_failed` for a newer or damaged format */
export async function checkFormat(fs: StoreFs, layout: Layout): Promise<boolean> {
  let text: string
  try {
    text = Buffer.from(await fs.read(layout.format, MAX_FORMAT_BYTES)).toString('utf8')
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw readFailure(error)
    const names = await listRoot(fs, layout)
    // A service that starts on the folder too has just made it a store.
    if (names.includes(basename(layout.format))) return true
    if (!names.includes('blobs') && !names.includes('domains')) return false
    throw new FacetError(
      'store_failed',
      `The data folder ${layout.root} has blobs or domains but no FORMAT file: it is damaged, or a backup restored in part, ` +
        `or not a store. If it is one, write "${STORE_FORMAT}" into FORMAT.`,
    )
  }
  if (text.trim() === STORE_FORMAT) return true
  const newer = /^facet-store\/([0-9]{1,6})\s*$/.exec(text)
  throw new FacetError(
    'store_failed',
    newer !== null
      ? `The data folder ${layout.root} has format facet-store/${newer[1]}, and this service reads ${STORE_FORMAT}: ` +
          'run the version of the service that wrote it, or a newer one.'
      : `The FORMAT file of the data folder ${layout.root} does not say ${STORE_FORMAT}: it is damaged, or the folder is not a store.`,
  )
}

/** Names in a folder that is no store yet and that no store made there; what an interrupted first start leaves behind
 * is the store's own. */
export async function foreignEntries(fs: StoreFs, layout: Layout): Promise<string[]> {
  const foreign: string[] = []
  for (const name of await listRoot(fs, layout)) {
    if (NOBODYS.has(name)) continue
    if (name === basename(layout.temporary)) {
      const temporary = await sort(fs, layout.temporary, 'file', isTemporaryName)
      foreign.push(...temporary.foreign.map((inside) => `${name}/${inside}`))
    } else if (name === basename(layout.lock)) {
      foreign.push(...(await foreignInLock(fs, layout)).map((inside) => `${name}/${inside}`))
    } else {
      foreign.push(name)
    }
  }
  return foreign.sort()
}

/** Everything in the folder. @throws FacetError `store_failed` where a folder cannot be listed */
export async function scan(fs: StoreFs, layout: Layout): Promise<Scan> {
  const found: Scan = {
    records: new Map(),
    blobs: new Map(),
    prefixes: [],
    temporary: [],
    unreadable: new Set(),
    hasRecords: false,
    problems: [],
  }
  try {
    const temporary = await sort(fs, layout.temporary, 'file', isTemporaryName)
    found.temporary = temporary.own
    found.problems.push(
      ...temporary.foreign.map((name) => stray(`tmp/${name}`, 'a temporary file of this store')),
      ...(await foreignInLock(fs, layout)).map((name) => stray(`lock/${name}`, 'a lock of this store')),
    )
    await scanBlobs(fs, layout, found)
    await scanRecords(fs, layout, found)
  } catch (error) {
    throw error instanceof FacetError ? error : readFailure(error)
  }
  for (const { record } of found.records.values()) checkBlobs(record, found)
  checkRecords(found)
  return found
}

async function scanBlobs(fs: StoreFs, layout: Layout, found: Scan): Promise<void> {
  const prefixes = (await listFolder(fs, layout.blobs)) ?? []
  const folders = await sideBySide(prefixes, READERS, (prefix) => scanPrefix(fs, layout, prefix))
  for (const [index, prefix] of prefixes.entries()) {
    const entries = folders[index]!
    if (entries === null) {
      found.problems.push(stray(`blobs/${prefix}`, 'a folder of this store'))
      continue
    }
    found.prefixes.push(prefix)
    for (const { name, bytes, kind } of entries) {
      const version = versionOfFile(name)
      if (version?.startsWith(prefix) && kind === 'file') found.blobs.set(version, bytes)
      else found.problems.push(stray(`blobs/${prefix}/${name}`, 'a blob of this store'))
    }
  }
}

/** What is in a folder of blobs; null where it is none. */
async function scanPrefix(
  fs: StoreFs,
  layout: Layout,
  prefix: string,
): Promise<({ name: string } & Entry)[] | null> {
  const folder = join(layout.blobs, prefix)
  if (!isBlobPrefix(prefix) || (await fs.stat(folder)).kind !== 'folder') return null
  const entries: ({ name: string } & Entry)[] = []
  for (const name of await fs.list(folder)) entries.push({ name, ...(await fs.stat(join(folder, name))) })
  return entries
}

async function scanRecords(fs: StoreFs, layout: Layout, found: Scan): Promise<void> {
  const names = await listFolder(fs, layout.domains)
  found.hasRecords = names !== null
  const sorted = (names ?? []).sort()
  const records = await sideBySide(sorted, READERS, async (name) => {
    const domain = domainOfFile(name)
    return domain === null ? null : readRecord(fs, layout, domain)
  })
  for (const [index, name] of sorted.entries()) {
    const domain = domainOfFile(name)
    const read = records[index]!
    if (domain === null || read === null) {
      found.problems.push(stray(`domains/${name}`, 'a record of a domain'))
    } else if (typeof read === 'string') {
      found.unreadable.add(domain)
      found.problems.push({
        kind: 'record_unreadable',
        subject: domain,
        domain,
        message: `The record of domain ${domain} is ignored: ${read}. Restore domains/${name} from a backup, or register the domain again.`,
      })
    } else found.records.set(domain, read)
  }
}

/** A record, or why it cannot be read. @throws Node's error where no file descriptor is free */
async function readRecord(fs: StoreFs, layout: Layout, domain: string): Promise<StoredRecord | string> {
  try {
    return decodeRecord(await fs.read(layout.record(domain), MAX_RECORD_BYTES), domain)
  } catch (error) {
    const code = errorCode(error)
    if (code === 'EMFILE' || code === 'ENFILE') throw error
    return error instanceof RecordError ? error.message : `it cannot be read (${reason(error)})`
  }
}

/** Adds a problem for each version of `record` whose blob is missing or has the wrong size. */
function checkBlobs(record: DomainRecord, found: Scan): void {
  for (const { version, bytes, seed } of record.versions) {
    if (seed === true) continue
    const actual = found.blobs.get(version)
    if (actual === bytes) continue
    const what = actual === undefined ? 'is missing' : `has ${actual} bytes instead of ${bytes}`
    found.problems.push({
      kind: 'pack_missing',
      subject: record.domain,
      domain: record.domain,
      version,
      message: `The pack of domain ${record.domain}, version ${version.slice(0, 12)}, ${what}. Restore it from a backup, or register it again.`,
    })
  }
}

/** Tells of packs that have lost their records. */
function checkRecords(found: Scan): void {
  if (!lostRecords(found)) return
  const { blobs, hasRecords } = found
  const bytes = [...blobs.values()].reduce((sum, size) => sum + size, 0)
  found.problems.push({
    kind: 'records_missing',
    subject: 'domains',
    count: blobs.size,
    message:
      `${hasRecords ? 'domains/ is empty' : 'domains/ is gone'}, and blobs/ has ${blobs.size} packs (${bytes} bytes): ` +
      'no domain of theirs is served. Stop the service and restore domains/ from a backup, or register the domains ' +
      'again; the packs are kept.',
  })
}

/** Whether the records are gone while the packs are there, and not what an interrupted change leaves behind. */
export function lostRecords({ blobs, hasRecords, records, unreadable }: Scan): boolean {
  if (!hasRecords) return blobs.size > 0
  return records.size === 0 && unreadable.size === 0 && blobs.size > MAX_INTERRUPTED
}

function stray(path: string, what: string): StoreProblem {
  return { kind: 'stray_file', subject: path, message: `${printable(path)} is not ${what}; ignored.` }
}

/** Names in the data folder, which may be a link; none where it is missing. */
async function listRoot(fs: StoreFs, layout: Layout): Promise<string[]> {
  return fs.list(layout.root).catch((error: unknown): string[] => {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  })
}

async function foreignInLock(fs: StoreFs, layout: Layout): Promise<string[]> {
  return (await sort(fs, layout.lock, 'other', isLockName)).foreign
}

/** Names in a folder, by whether the store made them: names that `isOwn` accepts, of entries of `kind`. Those that
 * another process removes meanwhile are left out.
 * @throws FacetError `store_failed` for a link, or for no folder */
async function sort(
  fs: StoreFs,
  path: string,
  kind: Entry['kind'],
  isOwn: (name: string) => boolean,
): Promise<{ own: string[]; foreign: string[] }> {
  const sorted = { own: [] as string[], foreign: [] as string[] }
  for (const name of (await listFolder(fs, path)) ?? []) {
    const found = await fs.stat(join(path, name)).catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return null
      throw error
    })
    if (found !== null) (isOwn(name) && found.kind === kind ? sorted.own : sorted.foreign).push(name)
  }
  return sorted
}

/** Names in a folder; null where it is missing. @throws FacetError `store_failed` for a link, or for no folder */
async function listFolder(fs: StoreFs, path: string): Promise<string[] | null> {
  let kind: string
  try {
    ;({ kind } = await fs.stat(path))
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  }
  if (kind === 'folder') return fs.list(path)
  throw new FacetError(
    'store_failed',
    `${path} is a link, or no folder, and is not followed: name the folder with --data, or mount it there.`,
  )
}
