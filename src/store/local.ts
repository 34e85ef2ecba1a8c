/**
 * The store on a local disk: layout in layout.ts, one durable write in durable.ts, start-up in recovery.ts.
 *
 * The order of writes makes it safe: a blob is durable before the record that names it is written, and is
 * removed only after the record that no longer names it is durable. What is in memory (`#records`, `#blobs`)
 * is what is durable.
 *
 * After a failed fsync of a folder it is unknown which state survives a crash. The store then refuses writes
 * until it is opened again; reads go on.
 */
import { resolve } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import { FacetError } from '../errors.js'
import { sha256 } from '../bytes/digest.js'
import { DurableWriter, UnknownOutcome } from './durable.js'
import { readFailure, reason, refusalAfter, writeFailure } from './failures.js'
import { errorCode, nodeFs, type StoreFs } from './fs.js'
import { checkDomainId } from '../domain-id.js'
import { Layout, MAX_BLOB_BYTES } from './layout.js'
import { decodeRecord, encodeRecord, RecordError } from './record.js'
import { openFolder } from './recovery.js'
import { lostRecords } from './scan.js'
import { KeyedQueue } from '../concurrency/keyed-queue.js'
import {
  type DomainRecord,
  RecordConflict,
  type Revision,
  type Store,
  type StoredRecord,
  type StoreProblem,
  type StoreUsage,
} from './store.js'

export interface LocalStoreOptions {
  /** The data folder; created where it is missing. */
  dir: string
  /** Bytes that all blobs together may take; without a quota, what the disk holds. */
  quota?: number
  fs?: StoreFs
  clock: Clock
  logger?: Logger
}

export class LocalStore implements Store {
  readonly #fs: StoreFs
  readonly #disk: DurableWriter
  readonly #layout: Layout
  readonly #quota: number
  readonly #clock: Clock
  readonly #log: Logger | undefined
  readonly #queue = new KeyedQueue()
  readonly #records = new Map<string, StoredRecord>()
  readonly #blobs = new Map<string, number>()
  /** Folders of `blobs/` that are durable, by name. */
  readonly #prefixes = new Set<string>()
  /** Records that are being written: the blobs they name are not collected. */
  readonly #pending = new Set<DomainRecord>()
  /** Versions that are being put, with the number of calls that put them. */
  readonly #arriving = new Map<string, number>()
  /** For each collection that runs, the versions it must not remove. */
  readonly #collections = new Set<Set<string>>()
  /** Domains whose record could not be read and that have not been registered again or removed since. */
  readonly #unreadable = new Set<string>()
  /** Blobs that no readable record named at start. They may belong to an unreadable one: while there is one,
   * they are not collected. */
  readonly #disputed = new Set<string>()
  /** The packs have lost their records: `#disputed` are not collected. */
  #keepsDisputed = false
  /** Whether there is a folder of records. */
  #hasRecords = true
  /** Bytes of all blobs. */
  #stored = 0
  /** Bytes of blobs that are being written. */
  #reserved = 0
  #state: 'new' | 'open' | 'closed' = 'new'
  /** Why writes are refused, or null. */
  #refusal: string | null = null
  #unlock: () => Promise<void> = async () => {}

  constructor(options: LocalStoreOptions) {
    this.#fs = options.fs ?? nodeFs
    this.#disk = new DurableWriter(this.#fs)
    this.#layout = new Layout(resolve(options.dir))
    this.#quota = options.quota ?? Number.POSITIVE_INFINITY
    this.#clock = options.clock
    this.#log = options.logger
  }

  async open(): Promise<StoreProblem[]> {
    if (this.#state !== 'new') throw new FacetError('internal', 'A store is opened once.')
    const began = this.#clock.now()
    const { found, unlock, refusal } = await openFolder(this.#fs, this.#disk, this.#layout, this.#log)
    for (const [domain, stored] of found.records) this.#records.set(domain, stored)
    for (const [version, bytes] of found.blobs) {
      this.#blobs.set(version, bytes)
      this.#stored += bytes
    }
    for (const prefix of found.prefixes) this.#prefixes.add(prefix)
    for (const domain of found.unreadable) this.#unreadable.add(domain)
    const named = this.#named()
    for (const version of found.blobs.keys()) if (!named.has(version)) this.#disputed.add(version)
    this.#keepsDisputed = lostRecords(found)
    this.#hasRecords = found.hasRecords || !this.#keepsDisputed
    this.#unlock = unlock
    this.#refusal = refusal
    this.#state = 'open'
    const problems = [...found.problems]
    if (refusal !== null) problems.push({ kind: 'not_writable', subject: 'store', message: refusal })
    this.#log?.info(
      {
        domains: this.#records.size,
        blobs: this.#blobs.size,
        bytes: this.#stored,
        ms: this.#clock.now() - began,
      },
      'store: open',
    )
    return problems
  }

  async records(): Promise<StoredRecord[]> {
    return Array.from(this.#records.values(), ({ record, revision }) => ({
      record: copyOf(record),
      revision,
    }))
  }

  async hasBlob(version: string): Promise<boolean> {
    return this.#blobs.has(version)
  }

  usage(): StoreUsage {
    return {
      bytes: this.#stored,
      quota: this.#quota,
      ...(this.#refusal === null ? {} : { failure: this.#refusal }),
    }
  }

  async putBlob(version: string, bytes: Uint8Array): Promise<void> {
    this.#arriving.set(version, (this.#arriving.get(version) ?? 0) + 1)
    for (const kept of this.#collections) kept.add(version)
    try {
      await this.#mutate(`blob ${version}`, () => this.#put(version, bytes))
    } finally {
      const others = this.#arriving.get(version)! - 1
      if (others === 0) this.#arriving.delete(version)
      else this.#arriving.set(version, others)
    }
  }

  async #put(version: string, bytes: Uint8Array): Promise<void> {
    const target = this.#layout.blob(version)
    if ((await sha256(bytes)) !== version) {
      throw new FacetError('internal', 'A blob is put under the SHA-256 of its bytes.')
    }
    const before = this.#blobs.get(version)
    if (before !== undefined && (await this.#intact(version))) return
    const growth = Math.max(0, bytes.length - (before ?? 0))
    this.#reserve(growth)
    try {
      const prefix = version.slice(0, 2)
      if (!this.#prefixes.has(prefix)) await this.#disk.makeFolder(this.#layout.blobFolder(version))
      this.#prefixes.add(prefix)
      await this.#disk.replaceFile(this.#layout.newTemporaryFile(), target, bytes)
    } finally {
      this.#reserved -= growth
    }
    this.#blobs.set(version, bytes.length)
    this.#stored += bytes.length - (before ?? 0)
  }

  /** Whether a blob still has its bytes; the next put replaces a corrupt one. */
  async #intact(version: string): Promise<boolean> {
    try {
      await this.readBlob(version)
      return true
    } catch (error) {
      if (error instanceof FacetError && error.code === 'domain_failed') return false
      throw error
    }
  }

  async readBlob(version: string): Promise<Uint8Array> {
    const short = version.slice(0, 12)
    const path = this.#layout.blob(version)
    let bytes: Uint8Array
    try {
      bytes = await this.#fs.read(path, MAX_BLOB_BYTES)
    } catch (error) {
      throw blobFailure(short, error)
    }
    if ((await sha256(bytes)) === version) return bytes
    throw new FacetError(
      'domain_failed',
      `The pack of version ${short} is corrupt on disk: register it again.`,
    )
  }

  async readStart(version: string, bytes: number): Promise<Uint8Array> {
    try {
      return await this.#fs.readStart(this.#layout.blob(version), bytes)
    } catch (error) {
      throw blobFailure(version.slice(0, 12), error)
    }
  }

  async writeRecord(record: DomainRecord, expected: Revision | null): Promise<Revision> {
    const { domain } = record
    checkDomainId(domain)
    const { bytes, stored } = encode(record)
    this.#pending.add(stored.record)
    try {
      await this.#mutate(`record ${domain}`, async () => {
        this.#checkRevision(domain, expected)
        this.#checkBlobs(stored.record)
        if (!this.#hasRecords) await this.#disk.makeFolder(this.#layout.domains)
        this.#hasRecords = true
        await this.#disk.replaceFile(this.#layout.newTemporaryFile(), this.#layout.record(domain), bytes)
        this.#records.set(domain, stored)
        this.#unreadable.delete(domain)
      })
    } finally {
      this.#pending.delete(stored.record)
    }
    return stored.revision
  }

  #checkRevision(domain: string, expected: Revision | null): void {
    const revision = this.#records.get(domain)?.revision ?? null
    if (revision !== expected) throw new RecordConflict(domain)
  }

  /** The blob of a version that the record did not name before must be durable; a version whose blob was lost
   * may stay listed. */
  #checkBlobs(record: DomainRecord): void {
    const before = new Set(this.#records.get(record.domain)?.record.versions.map(({ version }) => version))
    for (const { version, seed } of record.versions) {
      if (seed === true || before.has(version) || this.#blobs.has(version)) continue
      throw new FacetError(
        'internal',
        `Version ${version.slice(0, 12)} is not in the store: put its blob first.`,
      )
    }
  }

  async removeRecord(domain: string, expected: Revision | null): Promise<void> {
    const target = this.#layout.record(domain)
    await this.#mutate(`record ${domain}`, async () => {
      this.#checkRevision(domain, expected)
      await this.#disk.removeFile(target)
      this.#records.delete(domain)
      this.#unreadable.delete(domain)
    })
  }

  async collect(keep: ReadonlySet<string> = new Set()): Promise<number> {
    const disputed = this.#unreadable.size > 0 || this.#keepsDisputed ? this.#disputed : []
    const kept = new Set([...keep, ...this.#arriving.keys(), ...disputed])
    this.#collections.add(kept)
    let removed = 0
    try {
      const named = this.#named()
      const candidates = [...this.#blobs.keys()].filter(
        (version) => !kept.has(version) && !named.has(version),
      )
      for (const version of candidates) {
        await this.#mutate(`blob ${version}`, async () => {
          if (kept.has(version) || this.#named().has(version)) return
          await this.#removeBlob(version)
          removed += 1
        })
      }
    } finally {
      this.#collections.delete(kept)
    }
    return removed
  }

  /** Without an fsync of the folder: a blob that reappears after a crash is collected again. */
  async #removeBlob(version: string): Promise<void> {
    const bytes = this.#blobs.get(version)
    if (bytes === undefined) return
    // From here on no record may newly name it.
    this.#blobs.delete(version)
    try {
      await this.#fs.remove(this.#layout.blob(version))
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') {
        this.#blobs.set(version, bytes)
        throw error
      }
    }
    this.#stored -= bytes
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    await this.#queue.idle()
    await this.#unlock()
  }

  /** Runs a change after those with the same key, and turns its errors into those of `Store`. */
  async #mutate<T>(key: string, change: () => Promise<T>): Promise<T> {
    if (this.#state !== 'open') throw new FacetError('store_failed', 'The store is not open.')
    return this.#queue.run(key, async () => {
      if (this.#refusal !== null) throw new FacetError('store_failed', this.#refusal)
      try {
        return await change()
      } catch (error) {
        if (error instanceof RecordConflict) throw error
        const failure = writeFailure(error)
        if (error instanceof UnknownOutcome) this.#refusal ??= refusalAfter(error)
        this.#log?.error({ err: error, change: key }, 'store: a change failed')
        throw failure
      }
    })
  }

  #reserve(bytes: number): void {
    if (this.#stored + this.#reserved + bytes > this.#quota) {
      throw new FacetError(
        'store_full',
        `The pack of ${bytes} bytes does not fit: the store holds ${this.#stored + this.#reserved} of ${this.#quota} bytes. ` +
          'Delete versions or domains, or raise the quota. Nothing has changed.',
      )
    }
    this.#reserved += bytes
  }

  /** Versions whose blobs a record names, durable or being written. */
  #named(): Set<string> {
    const named = new Set<string>()
    const durable = Array.from(this.#records.values(), ({ record }) => record)
    for (const record of [...durable, ...this.#pending]) {
      for (const { version, seed } of record.versions) if (seed !== true) named.add(version)
    }
    return named
  }
}

/** A fraction of the time of `structuredClone`, of which thousands of records take a tenth of a second. */
function copyOf(record: DomainRecord): DomainRecord {
  return { ...record, versions: record.versions.map((version) => ({ ...version })) }
}

/** The error of a pack's file that cannot be read. */
function blobFailure(short: string, error: unknown): FacetError {
  const code = errorCode(error)
  if (code === 'EMFILE' || code === 'ENFILE' || code === undefined) return readFailure(error)
  const what = code === 'ENOENT' ? 'is missing from the store' : `cannot be read (${reason(error)})`
  return new FacetError('domain_failed', `The pack of version ${short} ${what}: register it again.`, {
    cause: error,
  })
}

/** The record's bytes, and the record as it is read from them after a restart. */
function encode(record: DomainRecord): { bytes: Uint8Array; stored: StoredRecord } {
  try {
    const bytes = encodeRecord(record)
    return { bytes, stored: decodeRecord(bytes, record.domain) }
  } catch (error) {
    if (!(error instanceof RecordError)) throw error
    throw new FacetError('internal', `The record of domain ${record.domain} is refused: ${error.message}.`)
  }
}
