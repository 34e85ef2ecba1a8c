/** Answers what residency asks about versions, from the catalog (which domains list them) and the packs
 * (their bytes). */
import type { Seed } from '../store/seeds.js'
import type { Store } from '../store/store.js'
import type { Versions } from '../residency/versions.js'
import { Catalog } from './catalog.js'
import { Packs } from './packs.js'

export class ListedVersions {
  /** The families' own packs, the first family's first. Their rows are never evicted, so they are not among the
   * `pinned`. */
  readonly bases: readonly [Seed, ...Seed[]]
  readonly catalog = new Catalog()
  readonly packs: Packs

  constructor(store: Pick<Store, 'hasBlob' | 'readBlob'>, bases: readonly [Seed, ...Seed[]]) {
    this.bases = bases
    this.packs = new Packs(store, bases)
  }

  /** As the residency of one family asks. @param base that family's own pack */
  ofFamily(base: Seed): Versions {
    const { bases, catalog, packs } = this
    const isOwn = (version: string) =>
      (catalog.family(version) ?? bases[0].record.family) === base.record.family
    return {
      read: (version) => packs.read(version),
      extent: (version) => catalog.extent(version),
      standing: (version) => catalog.standing(version),
      *pinned() {
        for (const { pinned, active, base: isBase } of catalog.states())
          if (pinned && active !== null && !isBase && active !== base.record.version && isOwn(active))
            yield active
      },
    }
  }
}
