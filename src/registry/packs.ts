/** Where the bytes of a version are: a blob of the store, or a shipped pack (the base's among them). */
import type { Seed } from '../store/seeds.js'
import type { Store } from '../store/store.js'
import type { PackBytes } from '../residency/versions.js'

export class Packs {
  readonly #store: Pick<Store, 'hasBlob' | 'readBlob'>
  readonly #byDomain = new Map<string, Seed>()
  readonly #byVersion = new Map<string, Seed>()

  constructor(store: Pick<Store, 'hasBlob' | 'readBlob'>, base: Seed) {
    this.#store = store
    this.#byVersion.set(base.record.version, base)
  }

  add(seed: Seed): void {
    this.#byDomain.set(seed.domain, seed)
    // Of two files with one version, the readable one.
    if (!this.ships(seed.record.version)) this.#byVersion.set(seed.record.version, seed)
  }

  /** The shipped pack of a domain's name. */
  seed(domain: string): Seed | undefined {
    return this.#byDomain.get(domain)
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
