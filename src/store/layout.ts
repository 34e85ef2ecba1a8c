/**
 * Where things lie in a data folder. No other file builds paths, and these are built from checked domain ids
 * and versions only.
 *
 *     FORMAT                                   `facet-store/1`
 *     lock/                                    see lock.ts
 *     blobs/<first 2 hex>/<sha256>.safetensors a pack's bytes under their version
 *     domains/<domain>.json                    a domain's record, with its checksum
 *     resident.json                            not the store's: serve/prewarm.ts
 *     tmp/                                     files being written; those left over are removed at every start
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { checkDomainId, domainIdRule, isDomainId } from '../domain-id.js'
import { FacetError } from '../errors.js'

/** Format of a data folder; the number grows when older services cannot read the new format. */
export const STORE_FORMAT = 'facet-store/1'

/** Largest files that are read, bytes: a record of 1000 versions has 300 kB. */
export const MAX_FORMAT_BYTES = 1024
export const MAX_RECORD_BYTES = 4 * 2 ** 20
/** A pack that is registered has at most `--max-pack` bytes; Node reads no file beyond 2 GiB. */
export const MAX_BLOB_BYTES = 2 ** 31 - 1

const VERSION = /^[0-9a-f]{64}$/
const PREFIX = /^[0-9a-f]{2}$/
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
/** The temporary file of FORMAT, also in `tmp/`. */
const TEMPORARY_FORMAT = 'FORMAT'
const BLOB_SUFFIX = '.safetensors'
const RECORD_SUFFIX = '.json'

/** True for a version in full: 64 lower-case hex digits. */
export function isVersion(version: string): boolean {
  return VERSION.test(version)
}

/** True for the name of a folder that `blobs/` may hold. */
export function isBlobPrefix(name: string): boolean {
  return PREFIX.test(name)
}

/** The version that a blob's file name names, or null. */
export function versionOfFile(name: string): string | null {
  const version = name.slice(0, -BLOB_SUFFIX.length)
  return name.endsWith(BLOB_SUFFIX) && isVersion(version) ? version : null
}

/** True for the name of a file that the store makes in `tmp/`. */
export function isTemporaryName(name: string): boolean {
  return UUID.test(name) || name === TEMPORARY_FORMAT
}

/** The domain that a record's file name names, or null. */
export function domainOfFile(name: string): string | null {
  const domain = name.slice(0, -RECORD_SUFFIX.length)
  return name.endsWith(RECORD_SUFFIX) && isDomainId(domain) ? domain : null
}

/** The domain that a shipped pack's file name names, or null for another kind of file.
 * @throws FacetError `bad_domain_id` for a pack whose name is no domain id */
export function domainOfSeed(name: string): string | null {
  if (!name.endsWith(BLOB_SUFFIX)) return null
  const domain = name.slice(0, -BLOB_SUFFIX.length)
  if (isDomainId(domain)) return domain
  throw new FacetError(
    'bad_domain_id',
    `The shipped pack ${JSON.stringify(name)} is not named after a domain: rename it to <domain>${BLOB_SUFFIX}, ` +
      `the domain being ${domainIdRule}.`,
  )
}

/** Paths within the data folder `dir`. */
export class Layout {
  readonly root: string
  readonly format: string
  readonly blobs: string
  readonly domains: string
  readonly temporary: string
  readonly temporaryFormat: string
  readonly lock: string

  constructor(dir: string) {
    this.root = dir
    this.format = join(dir, 'FORMAT')
    this.blobs = join(dir, 'blobs')
    this.domains = join(dir, 'domains')
    this.temporary = join(dir, 'tmp')
    this.temporaryFormat = join(this.temporary, TEMPORARY_FORMAT)
    this.lock = join(dir, 'lock')
  }

  /** The folder that holds the blob of `version`. */
  blobFolder(version: string): string {
    checkVersion(version)
    return this.prefixFolder(version.slice(0, 2))
  }

  /** @param prefix one that `isBlobPrefix` accepts */
  prefixFolder(prefix: string): string {
    return join(this.blobs, prefix)
  }

  blob(version: string): string {
    return join(this.blobFolder(version), version + BLOB_SUFFIX)
  }

  record(domain: string): string {
    checkDomainId(domain)
    return join(this.domains, domain + RECORD_SUFFIX)
  }

  /** @param name one that `isTemporaryName` accepts */
  temporaryFile(name: string): string {
    return join(this.temporary, name)
  }

  newTemporaryFile(): string {
    return this.temporaryFile(randomUUID())
  }
}

function checkVersion(version: string): void {
  if (!isVersion(version)) throw new FacetError('internal', 'A version is 64 lower-case hex digits.')
}
