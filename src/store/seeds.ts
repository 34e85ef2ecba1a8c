/** The shipped packs ("seeds"): `<folder>/<domain>.safetensors`, read-only. A record of the same domain in
 * the store takes precedence. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FacetError } from '../errors.js'
import { sha256 } from '../bytes/digest.js'
import { readFailure, reason } from './failures.js'
import { errorCode } from './fs.js'
import { domainOfSeed } from './layout.js'
import type { VersionRecord } from './store.js'

/** A shipped pack, and how it is listed. Its version is the SHA-256 of the bytes that were there when the
 * folder was read. */
export interface Seed {
  domain: string
  record: VersionRecord
  path: string
  /** Why its header cannot be read. */
  failure?: unknown
  /** The pack's bytes. @throws FacetError `domain_failed` when the file is missing or has changed since */
  read(): Promise<Uint8Array>
}

/** What a listing shows of a pack, from its bytes. Throws where the bytes are no pack. */
export type Describe = (bytes: Uint8Array) => Omit<VersionRecord, 'version' | 'bytes'>

/**
 * Every pack in `dir`, in the order of their domains; none where the folder is missing. Other files are
 * ignored. A broken pack is listed too, as failed, so that its domain is not simply missing.
 * @throws FacetError `bad_domain_id` for a pack not named after a domain, `store_failed` for a pack that
 * cannot be read
 */
export async function readSeeds(dir: string, describe: Describe): Promise<Seed[]> {
  const seeds: Seed[] = []
  for (const name of await list(dir)) {
    const domain = domainOfSeed(name)
    if (domain !== null) seeds.push(await readSeed(join(dir, name), domain, describe))
  }
  return seeds
}

async function list(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).sort()
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw new FacetError(
      'store_failed',
      `The folder of shipped packs ${dir} cannot be read (${reason(error)}).`,
      {
        cause: error,
      },
    )
  }
}

async function readSeed(path: string, domain: string, describe: Describe): Promise<Seed> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (error) {
    throw new FacetError('store_failed', `The shipped pack ${path} cannot be read (${reason(error)}).`, {
      cause: error,
    })
  }
  const version = await sha256(bytes)
  const read = () => readUnchanged(path, domain, version)
  const record = { version, bytes: bytes.length, created: '', design: 'unknown', classes: 0, seed: true }
  try {
    return { domain, path, read, record: { ...record, ...describe(bytes) } }
  } catch (failure) {
    return { domain, path, read, record, failure }
  }
}

async function readUnchanged(path: string, domain: string, version: string): Promise<Uint8Array> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (error) {
    const code = errorCode(error)
    if (code === 'EMFILE' || code === 'ENFILE') throw readFailure(error)
    throw new FacetError(
      'domain_failed',
      `The shipped pack of domain ${domain} cannot be read (${reason(error)}).`,
      {
        cause: error,
      },
    )
  }
  if ((await sha256(bytes)) === version) return bytes
  throw new FacetError(
    'domain_failed',
    `The shipped pack of domain ${domain} has changed on disk: restart the service to serve the new one.`,
  )
}
