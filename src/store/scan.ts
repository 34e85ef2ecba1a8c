/**
 * Reads a data folder and lists what is wrong with it. Changes nothing: `LocalStore.open` recovers from what
 * is found, `verifyStore` reports it.
 */
import { join } from 'node:path'
import { FacetError } from '../errors.js'
import { readFailure, reason } from './failures.js'
import { errorCode, type StoreFs } from './fs.js'
import { domainOfFile, isBlobPrefix, type Layout, STORE_FORMAT, versionOfFile } from './layout.js'
import { decodeRecord, RecordError } from './record.js'
import type { DomainRecord, StoredRecord, StoreProblem } from './store.js'

export interface Scan {
  records: Map<string, StoredRecord>
  /** Bytes of each blob, by version. */
  blobs: Map<string, number>
  /** Prefix folders of `blobs/` that exist. */
  prefixes: string[]
  /** Names in `tmp/`. */
  temporary: string[]
  /** Domains that have a record which cannot be read. */
  unreadable: Set<string>
  problems: StoreProblem[]
}

/** Whether the folder is a store that this service reads; false for a folder that never was a store.
 * @throws FacetError `store_failed` for a newer or damaged format */
export async function checkFormat(fs: StoreFs, layout: Layout): Promise<boolean> {
  let text: string
  try {
    text = Buffer.from(await fs.read(layout.format)).toString('utf8')
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw readFailure(error)
    const names = await listOrNone(fs, layout.root)
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

/** Everything in the folder. @throws FacetError `store_failed` where a folder cannot be listed */
export async function scan(fs: StoreFs, layout: Layout): Promise<Scan> {
  const found: Scan = {
    records: new Map(),
    blobs: new Map(),
    prefixes: [],
    temporary: [],
    unreadable: new Set(),
    problems: [],
  }
  try {
    found.temporary = await listOrNone(fs, layout.temporary)
    await scanBlobs(fs, layout, found)
    await scanRecords(fs, layout, found)
  } catch (error) {
    throw error instanceof FacetError ? error : readFailure(error)
  }
  for (const { record } of found.records.values()) checkBlobs(record, found)
  return found
}

async function scanBlobs(fs: StoreFs, layout: Layout, found: Scan): Promise<void> {
  for (const prefix of await listOrNone(fs, layout.blobs)) {
    if (!isBlobPrefix(prefix)) {
      found.problems.push({
        subject: `blobs/${prefix}`,
        message: `blobs/${prefix} is not a folder of this store; ignored.`,
      })
      continue
    }
    const folder = join(layout.blobs, prefix)
    found.prefixes.push(prefix)
    for (const name of await fs.list(folder)) {
      const version = versionOfFile(name)
      const { bytes, folder: isFolder } = await fs.stat(join(folder, name))
      if (version?.startsWith(prefix) && !isFolder) found.blobs.set(version, bytes)
      else
        found.problems.push({
          subject: `blobs/${prefix}/${name}`,
          message: `blobs/${prefix}/${name} is not a blob of this store; ignored.`,
        })
    }
  }
}

async function scanRecords(fs: StoreFs, layout: Layout, found: Scan): Promise<void> {
  for (const name of (await listOrNone(fs, layout.domains)).sort()) {
    const domain = domainOfFile(name)
    if (domain === null) {
      found.problems.push({
        subject: `domains/${name}`,
        message: `domains/${name} is not a record of a domain; ignored.`,
      })
      continue
    }
    try {
      found.records.set(domain, decodeRecord(await fs.read(layout.record(domain)), domain))
    } catch (error) {
      const code = errorCode(error)
      if (code === 'EMFILE' || code === 'ENFILE') throw error
      found.unreadable.add(domain)
      const why = error instanceof RecordError ? error.message : `it cannot be read (${reason(error)})`
      found.problems.push({
        subject: domain,
        domain,
        message: `The record of domain ${domain} is ignored: ${why}. Restore domains/${name} from a backup, or register the domain again.`,
      })
    }
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
      subject: record.domain,
      domain: record.domain,
      version,
      message: `The pack of domain ${record.domain}, version ${version.slice(0, 12)}, ${what}. Restore it from a backup, or register it again.`,
    })
  }
}

async function listOrNone(fs: StoreFs, path: string): Promise<string[]> {
  try {
    return await fs.list(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}
