/**
 * What every store promises: it keeps the bytes of packs ("blobs") under their SHA-256, and one small record
 * per domain.
 *
 * A resolved write is durable: it survives a crash of the process and of the machine. A store knows no
 * family, no bank and no HTTP; the registry decides which versions a domain keeps.
 */

/** What a listing shows of a version without opening its pack. */
export interface VersionRecord {
  /** SHA-256 (hex) of the pack's bytes. */
  version: string
  bytes: number
  /** ISO 8601, when it was registered here. */
  created: string
  design: string
  /** Classes of its head; 0 for a pack that serves `embed` only. */
  classes: number
  /** Which part of an adapter it has itself; and the type of its head's weights, where it has a head. Records written
   * before there were these fields have none. */
  adapter?: string
  head?: string
  /** Fingerprint of the family it belongs to. Records written before there was this field have none. */
  family?: string
  /** True where the pack is a shipped one and not a blob of this store. */
  seed?: boolean
}

/** What a domain is: which versions it has and which one it serves. Nothing else in a store changes. */
export interface DomainRecord {
  domain: string
  /** The version served, or null where none is active. */
  active: string | null
  /** Newest last. */
  versions: VersionRecord[]
  pinned: boolean
  /** A tombstone: hides the shipped pack of this name. */
  deleted: boolean
  /** ISO 8601. */
  updated: string
}

/** Opaque; equal revisions of a domain's record name the same record. */
export type Revision = string

export interface StoredRecord {
  record: DomainRecord
  revision: Revision
}

/** A record is not at the revision that its writer last saw. Nothing has changed. */
export class RecordConflict extends Error {
  readonly domain: string

  constructor(domain: string) {
    super(`the record of domain ${domain} was changed by another writer`)
    this.name = 'RecordConflict'
    this.domain = domain
  }
}

export interface StoreUsage {
  /** Bytes of pack blobs. */
  bytes: number
  /** Bytes allowed; Infinity without a quota. */
  quota: number
  /** Why writes are refused (read-only folder, failed fsync), where they are; reads go on. */
  failure?: string
}

/**
 * What is wrong: a domain's record cannot be read; a pack is missing, or not as it was stored; packs have lost their
 * records; packs are another family's; nothing can be written; a file is none of this store's.
 */
export const storeProblemKinds = [
  'record_unreadable',
  'pack_missing',
  'records_missing',
  'other_family',
  'not_writable',
  'stray_file',
] as const
export type StoreProblemKind = (typeof storeProblemKinds)[number]

/** A problem found when the store was opened or verified; it concerns only its subject. */
export interface StoreProblem {
  kind: StoreProblemKind
  /** Packs or domains that it concerns; one unless given. */
  count?: number
  /** The domain or blob concerned, where known. */
  subject: string
  message: string
  /** The domain concerned. A domain without a record in `records()` has an unreadable record: it has failed,
   * and must not fall back to the shipped pack of its name. */
  domain?: string
  /** The version of `domain` whose pack is missing or has the wrong size; absent where the problem is the
   * record. */
  version?: string
}

export interface Store {
  /** Recovers from interrupted writes, and lists the problems found.
   * @throws FacetError `store_failed` when the store is in use, of a newer format, or not readable */
  open(): Promise<StoreProblem[]>
  /** Copies of what is durable now. */
  records(): Promise<StoredRecord[]>
  /** Writes the pack's bytes under their version; a no-op where the store has them intact already (a corrupt
   * blob is replaced). @throws FacetError `store_full` (507) over the quota or on a full disk, `store_failed`
   * otherwise; nothing has changed then */
  putBlob(version: string, bytes: Uint8Array): Promise<void>
  /** The bytes of a pack, checked against the version. @throws FacetError `domain_failed` for missing,
   * unreadable or corrupt bytes, `store_failed` where trying again may help (no file descriptor free) */
  readBlob(version: string): Promise<Uint8Array>
  hasBlob(version: string): Promise<boolean>
  /** The first bytes of a pack, unchecked. @throws as `readBlob` */
  readStart(version: string, bytes: number): Promise<Uint8Array>
  /**
   * Replaces a domain's record atomically, where it is at the revision `expected`: the one its writer last
   * saw, or null where it saw none. A record that cannot be read counts as none. The blobs that the record
   * newly names must be there.
   * @returns the record's new revision
   * @throws RecordConflict, FacetError as `putBlob`; nothing has changed then
   */
  writeRecord(record: DomainRecord, expected: Revision | null): Promise<Revision>
  /** Removes a domain's record durably, where it is at the revision `expected`; null removes one that cannot
   * be read, and does nothing where there is none. @throws as `writeRecord` */
  removeRecord(domain: string, expected: Revision | null): Promise<void>
  /** Removes the blobs that no record names, but those in `keep` (put, and to be named by a record soon) and
   * those put after this call. Returns how many. */
  collect(keep?: ReadonlySet<string>): Promise<number>
  /** What is known without asking the disk: metrics read it at each scrape. */
  usage(): StoreUsage
  /** Waits for the writes that have begun, then releases the store. */
  close(): Promise<void>
}
