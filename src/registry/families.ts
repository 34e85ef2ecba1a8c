/**
 * The families that are served, each with the residency of its versions, and which of them a version is of.
 *
 * The records say a version's family by its fingerprint. A version of which nothing says it (its pack cannot be read)
 * counts as the first family's: its load tells what is wrong with it. One of a family that is not served has failed.
 */
import { short } from '../bytes/digest.js'
import { FacetError } from '../errors.js'
import type { Residency } from '../residency/residency.js'
import type { ResidencyState } from '../residency/types.js'
import type { Catalog } from './catalog.js'

export class Families {
  /** The first one first. */
  readonly all: readonly Residency[]
  readonly #first: Residency
  readonly #byFingerprint: ReadonlyMap<string, Residency>
  readonly #catalog: Pick<Catalog, 'family'>

  constructor(all: readonly [Residency, ...Residency[]], catalog: Pick<Catalog, 'family'>) {
    this.all = all
    this.#first = all[0]
    this.#byFingerprint = new Map(all.map((residency) => [residency.family.fingerprint, residency]))
    this.#catalog = catalog
  }

  /** Those of the family with this fingerprint; undefined where it is not served. */
  served(fingerprint: string | undefined): Residency | undefined {
    return fingerprint === undefined ? this.#first : this.#byFingerprint.get(fingerprint)
  }

  /** Undefined where the version's family is not served. */
  find(version: string): Residency | undefined {
    return this.served(this.#catalog.family(version))
  }

  /** @throws FacetError `domain_failed` (503) where the version's family is not served */
  of(version: string): Residency {
    const residency = this.find(version)
    if (residency === undefined) throw this.#unserved(version)
    return residency
  }

  /** The name of the family a version is of; null where it is not served. */
  name(version: string): string | null {
    return this.find(version)?.family.name ?? null
  }

  state(version: string): Exclude<ResidencyState, 'inactive'> {
    return this.find(version)?.state(version) ?? 'failed'
  }

  failure(version: string): FacetError | undefined {
    const residency = this.find(version)
    return residency === undefined ? this.#unserved(version) : residency.failure(version)
  }

  /** Bytes of the version's row and head; 0 where it is not resident. */
  residentBytes(version: string): number {
    return this.find(version)?.residentBytes(version) ?? 0
  }

  /** See `Residency.settle`: a version that no domain lists any more may be any family's. */
  settle(versions: Iterable<string>): void {
    const all = [...versions]
    for (const residency of this.all) residency.settle(all)
  }

  /** The families that are served, for people. */
  describe(): string {
    return this.all
      .map(({ family }) => `'${family.name}' (fingerprint ${short(family.fingerprint)})`)
      .join(', ')
  }

  /** The name of a served family that was compressed from this one; undefined where there is none. */
  compressedFrom(fingerprint: string): string | undefined {
    return this.all.find(({ family }) => family.compressed?.fingerprint === fingerprint)?.family.name
  }

  #unserved(version: string): FacetError {
    const other = this.#catalog.family(version)!
    const compressed = this.compressedFrom(other)
    return new FacetError(
      'domain_failed',
      `Version ${short(version)} is a pack of another family (fingerprint ${short(other)}), and this service serves ${this.describe()}.${
        compressed === undefined
          ? ''
          : ` '${compressed}' was compressed from that family: make its pack with facet pack project.`
      }`,
    )
  }
}
