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
}

/** Something found wrong when the store was opened or verified; the rest serves. */
export interface StoreProblem {
  /** The domain or blob concerned, where known. */
  subject: string
  message: string
}

export interface Store {
  /** Recovers: drops temporary files, ignores torn writes, returns what is wrong. Throws when the folder is
   * locked by another process, of a newer format, or not readable. */
  open(): Promise<StoreProblem[]>
  records(): DomainRecord[]
  /** Writes the pack's bytes under their version; a no-op where they are there already.
   * @throws FacetError `store_full` (507) over the quota or on a full disk, `store_failed` otherwise. */
  putBlob(version: string, bytes: Uint8Array): Promise<void>
  /** Reads and checks against the version. @throws FacetError `domain_failed` for missing or corrupt bytes. */
  readBlob(version: string): Promise<Uint8Array>
  hasBlob(version: string): boolean
  /** Replaces a domain's record atomically. @throws FacetError as `putBlob`. */
  writeRecord(record: DomainRecord): Promise<void>
  /** Removes a domain's record durably. */
  removeRecord(domain: string): Promise<void>
  /** Removes blobs that no record names and `keep` does not hold (staged or in flight). */
  collect(keep?: ReadonlySet<string>): Promise<number>
  usage(): StoreUsage
  /** Releases the lock. */
  close(): Promise<void>
}
