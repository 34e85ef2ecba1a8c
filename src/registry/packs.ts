/** Where the bytes of a version are: a blob of the store, or a shipped pack (the bases' among them). */
import type { Seed } from '../store/seeds.js'
import type { Store, VersionRecord } from '../store/store.js'
import type { PackBytes } from '../residency/versions.js'

export class Packs {
  readonly #store: Pick<Store, 'hasBlob' | 'readBlob'>
  readonly #byDomain = new Map<string, Seed[]>()
  readonly #byVersion = new Map<string, Seed>()

  constructor(store: Pick<Store, 'hasBlob' | 'readBlob'>, bases: readonly Seed[]) {
    this.#store = store
    for (const base of bases) this.#byVersion.set(base.record.version, base)
  }

  add(seed: Seed): void {
    const { domain, record } = seed
    const others = this.#byDomain.get(domain) ?? []
    if (!others.some((other) => other.record.version === record.version))
      this.#byDomain.set(domain, [...others, seed])
    // Of two files with one version, the readable one.
    if (!this.ships(record.version)) this.#byVersion.set(record.version, seed)
  }

  /** The domains that have shipped packs. */
  shipped(): Iterable<string> {
    return this.#byDomain.keys()
  }

  /** The shipped packs of a domain's name, those of the first family first. */
  seeds(domain: string): readonly VersionRecord[] {
    return this.#byDomain.get(domain)?.map(({ record }) => record) ?? []
  }

  /** Whether a readable shipped pack has this version. It then serves even if the store's copy is damaged. */
  ships(version: string): boolean {
    const seed = this.#byVersion.get(version)
    return seed !== undefined && seed.failure === undefined
  }

  /**
   * The bytes, checked against the version: the store's, or the shipped pack's where the store has none or cannot read
   * them. The store is asked whether it has them only for versions that are shipped too.
   * @throws FacetError `domain_failed`, `store_failed`
   */
  async read(version: string): Promise<PackBytes> {
    const seed = this.#byVersion.get(version)
    try {
      if (seed === undefined || (await this.#store.hasBlob(version)))
        return { bytes: await this.#store.readBlob(version), tier: 'store' }
    } catch (error) {
      if (!this.ships(version)) throw error
    }
    return { bytes: await seed!.read(), tier: 'seed' }
  }
}
