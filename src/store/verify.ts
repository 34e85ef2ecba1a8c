/** A full check of a data folder that is not in use: every record's checksum, every blob's SHA-256. Changes
 * nothing. */
import { resolve } from 'node:path'
import { FacetError } from '../errors.js'
import { sha256 } from '../bytes/digest.js'
import { readFailure, reason } from './failures.js'
import { nodeFs, type StoreFs } from './fs.js'
import { Layout, MAX_BLOB_BYTES, STORE_FORMAT } from './layout.js'
import { isReadOnly, lockData } from './recovery.js'
import { checkFormat, type Scan, scan } from './scan.js'
import type { StoreProblem } from './store.js'

export interface Verification {
  format: string
  domains: number
  versions: number
  blobs: number
  /** Bytes of all blobs. */
  bytes: number
  problems: StoreProblem[]
  /** What is harmless and is removed later: temporary files, blobs that no record names. */
  notes: string[]
}

/**
 * Checks the folder `dir`, under its lock where it can be written (a backup may be read-only).
 * @throws FacetError `store_failed` when it is in use, no store, of a newer format, or cannot be listed
 */
export async function verifyStore(dir: string, fs: StoreFs = nodeFs): Promise<Verification> {
  const layout = new Layout(resolve(dir))
  await checkIsStore(fs, layout)
  const unlock = await lockUnlessReadOnly(fs, layout)
  try {
    const found = await scan(fs, layout)
    const versions = [...found.records.values()].flatMap(({ record }) => record.versions)
    const named = new Set(versions.filter(({ seed }) => seed !== true).map(({ version }) => version))
    const orphans = [...found.blobs.keys()].filter((version) => !named.has(version))
    return {
      format: STORE_FORMAT,
      domains: found.records.size,
      versions: versions.length,
      blobs: found.blobs.size,
      bytes: [...found.blobs.values()].reduce((sum, bytes) => sum + bytes, 0),
      problems: [...found.problems, ...(await corruptBlobs(fs, layout, found))],
      notes: [
        ...found.temporary.map((name) => `tmp/${name} is left over from an interrupted write.`),
        ...orphans.map((version) => `Blob ${version} is named by no record.`),
      ],
    }
  } finally {
    await unlock()
  }
}

async function checkIsStore(fs: StoreFs, layout: Layout): Promise<void> {
  if (await checkFormat(fs, layout)) return
  throw new FacetError(
    'store_failed',
    `The folder ${layout.root} is not a store: it has no FORMAT file. Name the data folder of a service (--data, FACET_DATA); a service makes one at its first start.`,
  )
}

async function lockUnlessReadOnly(fs: StoreFs, layout: Layout): Promise<() => Promise<void>> {
  try {
    return await lockData(fs, layout)
  } catch (error) {
    if (isReadOnly(error)) return async () => {}
    throw error instanceof FacetError ? error : readFailure(error)
  }
}

async function corruptBlobs(fs: StoreFs, layout: Layout, found: Scan): Promise<StoreProblem[]> {
  const problems: StoreProblem[] = []
  for (const version of [...found.blobs.keys()].sort()) {
    const wrong = await whatIsWrong(fs, layout, version)
    if (wrong === null) continue
    const users = [...found.records.values()]
      .filter(({ record }) => record.versions.some((entry) => entry.version === version))
      .map(({ record }) => record.domain)
    const usedBy = users.length === 0 ? 'no domain' : users.join(', ')
    problems.push({
      kind: 'pack_missing',
      subject: `blob ${version}`,
      message: `Blob ${version} (used by ${usedBy}) ${wrong}. Restore it from a backup, or register the pack again.`,
      version,
      ...(users.length === 0 ? {} : { domain: users[0]! }),
    })
  }
  return problems
}

async function whatIsWrong(fs: StoreFs, layout: Layout, version: string): Promise<string | null> {
  try {
    const actual = await sha256(await fs.read(layout.blob(version), MAX_BLOB_BYTES))
    return actual === version ? null : `is corrupt: its SHA-256 is ${actual}`
  } catch (error) {
    return `cannot be read (${reason(error)})`
  }
}
