/**
 * The store's records, each with the revision that was last seen of it.
 *
 * A write replaces the revision that was seen and no other: the store refuses it where another process has changed the
 * record since. What that process wrote is read at the next start, and the domain cannot be changed before. The
 * revisions are kept beside the domains' states and not in them, because the record of a deleted shipped domain has one
 * too, and no state.
 */
import { FacetError } from '../errors.js'
import { type DomainRecord, RecordConflict, type Revision, type Store } from '../store/store.js'

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

  /** @throws FacetError `store_failed` (500) for a conflict, and as `Store.writeRecord` */
  async write(record: DomainRecord): Promise<void> {
    const { domain } = record
    const written = this.#store.writeRecord(record, this.#seen(domain)).catch(conflict)
    this.#revisions.set(domain, await written)
  }

  /** @throws FacetError `store_failed` (500) for a conflict, and as `Store.removeRecord` */
  async remove(domain: string): Promise<void> {
    await this.#store.removeRecord(domain, this.#seen(domain)).catch(conflict)
    this.#revisions.delete(domain)
  }

  #seen(domain: string): Revision | null {
    return this.#revisions.get(domain) ?? null
  }
}

function conflict(error: unknown): never {
  if (!(error instanceof RecordConflict)) throw error
  const message =
    "Another process has changed this domain's record. Restart the service to read it again. Nothing has changed here."
  throw new FacetError('store_failed', message, { cause: error })
}
