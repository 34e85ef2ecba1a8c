/**
 * What a store promises, whatever keeps it: pack bytes by content, and one small record per domain.
 *
 * A resolved write is durable: it survives a crash of the process and of the machine. A store knows no
 * family, no bank and no HTTP; which versions a domain keeps is the registry's business.
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
  /** True where the pack is a shipped seed and not a blob of this store. */
  seed?: boolean
}

/** A domain's pointer: the only mutable thing in a store. */
export interface DomainRecord {
  domain: string
  /** Version served, or null when nothing is active. */
  active: string | null
  /** Newest last. */
  versions: VersionRecord[]
  pinned: boolean
  /** A tombstone: hides the shipped seed of this name. */
  deleted: boolean
  updated: string
}

export interface StoreUsage {
  /** Bytes of pack blobs. */
  bytes: number
  /** Bytes allowed; Infinity without a quota. */
  quota: number
  /** Why writes are refused, where they are (read-only folder, failed fsync); reading goes on. */
  failure?: string
}

/** Something found wrong when the store was opened or verified; the rest serves. */
export interface StoreProblem {
  /** The domain or blob concerned, where known. */
  subject: string
  message: string
  /** The domain that is hurt by it. One without a record in `records()` has an unreadable record: it failed,
   * and must not fall back to the shipped seed of that name. */
  domain?: string
  /** The version of `domain` whose pack is missing or has the wrong size; without one, the whole record. */
  version?: string
}

export interface Store {
  /** Recovers: drops temporary files, ignores torn writes, returns what is wrong. Throws when the folder is
   * locked by another process, of a newer format, or not readable. */
  open(): Promise<StoreProblem[]>
  /** Copies of what is durable now. */
  records(): DomainRecord[]
  /** Writes the pack's bytes under their version; a no-op where they are there already and intact (a corrupt
   * blob is replaced). @throws FacetError `store_full` (507) over the quota or on a full disk, `store_failed`
   * otherwise; nothing has changed then. */
  putBlob(version: string, bytes: Uint8Array): Promise<void>
  /** Reads and checks against the version. @throws FacetError `domain_failed` for missing, unreadable or
   * corrupt bytes, `store_failed` where trying again may help (no file descriptor free). */
  readBlob(version: string): Promise<Uint8Array>
  hasBlob(version: string): boolean
  /** Replaces a domain's record atomically. The blobs it newly names must be there. Two writes for one domain
   * take effect in the order of the calls. @throws FacetError as `putBlob`. */
  writeRecord(record: DomainRecord): Promise<void>
  /** Removes a domain's record durably; a no-op where there is none. */
  removeRecord(domain: string): Promise<void>
  /** Removes blobs that no record names, that `keep` does not hold (staged, or put and not yet named by a
   * record) and that were not put after this call. Returns how many. */
  collect(keep?: ReadonlySet<string>): Promise<number>
  usage(): StoreUsage
  /** Waits for writes under way, then releases the lock. */
  close(): Promise<void>
}
