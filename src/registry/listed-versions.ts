/** Answers what residency asks about versions, from the catalog (which domains list them) and the packs
 * (their bytes). */
import type { Seed } from '../store/seeds.js'
import type { Store } from '../store/store.js'
import type { PackBytes, Standing, Versions } from '../residency/versions.js'
import { Catalog } from './catalog.js'
import { Packs } from './packs.js'

export class ListedVersions implements Versions {
  /** The family's own pack. Its row is never evicted, so it is not among the `pinned`. */
  readonly base: Seed
  readonly catalog = new Catalog()
  readonly packs: Packs

  constructor(store: Pick<Store, 'hasBlob' | 'readBlob'>, base: Seed) {
    this.base = base
    this.packs = new Packs(store, base)
  }

  read(version: string): Promise<PackBytes> {
    return this.packs.read(version)
  }

  classes(version: string): number {
    return this.catalog.classes(version)
  }

  standing(version: string): Standing {
    return this.catalog.standing(version)
  }

  *pinned(): Iterable<string> {
    for (const { pinned, active } of this.catalog.states())
      if (pinned && active !== null && active !== this.base.record.version) yield active
  }
}
