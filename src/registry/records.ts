/**
 * The store's records, each with the revision that was last seen of it.
 *
 * A write replaces the revision that was seen and no other: the store refuses it where something else has
 * changed the record since. The revisions are kept beside the domains' states and not in them, because the
 * record of a deleted shipped domain has one too, and no state.
 */
import type { DomainRecord, Revision, Store } from '../store/store.js'

export class Records {
  readonly #store: Pick<Store, 'records' | 'writeRecord' | 'removeRecord'>
  readonly #revisions = new Map<string, Revision>()

  constructor(store: Pick<Store, 'records' | 'writeRecord' | 'removeRecord'>) {
    this.#store = store
  }

  async read(): Promise<DomainRecord[]> {
    const stored = await this.#store.records()
    this.#revisions.clear()
    for (const { record, revision } of stored) this.#revisions.set(record.domain, revision)
    return stored.map(({ record }) => record)
  }

  /** @throws RecordConflict, and as `Store.writeRecord` */
  async write(record: DomainRecord): Promise<void> {
    const { domain } = record
    this.#revisions.set(domain, await this.#store.writeRecord(record, this.#seen(domain)))
  }

  /** @throws RecordConflict, and as `Store.removeRecord` */
  async remove(domain: string): Promise<void> {
    await this.#store.removeRecord(domain, this.#seen(domain))
    this.#revisions.delete(domain)
  }

  #seen(domain: string): Revision | null {
    return this.#revisions.get(domain) ?? null
  }
}
