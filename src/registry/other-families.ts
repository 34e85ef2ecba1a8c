/**
 * Domains whose packs belong to another family than the one that is served: the sign of a wrong folder, or of a wrong
 * family. They are told at start, together, before each of them fails by itself.
 */
import { short } from '../bytes/digest.js'
import { familyOf } from '../pack/read.js'
import type { Store, StoreProblem } from '../store/store.js'
import type { DomainState } from './catalog.js'

/** Bytes of a pack's file that are read first. Most headers are shorter; one with many labels is not. */
const START_BYTES = 64 * 1024
const MAX_START_BYTES = 8 + 2 ** 20
/** Packs that are read at once. */
const READERS = 16
/** Domains that are named. */
const NAMED = 5

/**
 * Looks at the active pack of every domain. Records say which family it belongs to; for those written before they did,
 * the header of the pack says it. A pack that cannot be read is not looked at here.
 * @param family fingerprint and name of the family that is served
 * @returns a problem for the data folder and one for the shipped packs, where they have any
 */
export async function otherFamilies(
  states: readonly DomainState[],
  store: Pick<Store, 'readStart'>,
  family: { fingerprint: string; name: string },
): Promise<StoreProblem[]> {
  const found = { store: new Found(), seed: new Found() }
  const active = states.flatMap(({ domain, active, versions }) => {
    const record = versions.find(({ version }) => version === active)
    return record ? [{ domain, record }] : []
  })
  const next = active.values()
  const read = async () => {
    for (const { domain, record } of next) {
      const { version, seed, family: named } = record
      const its = named ?? (seed ? null : await familyInStore(store, version))
      found[seed ? 'seed' : 'store'].add(domain, its, family.fingerprint)
    }
  }
  await Promise.all(Array.from({ length: READERS }, read))
  const { name, fingerprint } = family
  const served = `this service serves '${name}' (fingerprint ${short(fingerprint)})`
  return [
    found.store.problem('in the data folder', served, 'another data folder (--data)'),
    found.seed.problem('shipped (--adapters)', served, 'the folder of its packs (--adapters)'),
  ].flatMap((problem) => problem ?? [])
}

class Found {
  #all = 0
  readonly #others: string[] = []
  readonly #families = new Set<string>()

  add(domain: string, its: string | null, ours: string): void {
    this.#all++
    if (its === null || its === ours) return
    this.#others.push(domain)
    this.#families.add(short(its))
  }

  problem(where: string, served: string, folder: string): StoreProblem | undefined {
    const count = this.#others.length
    if (count === 0) return undefined
    const named = this.#others.sort().slice(0, NAMED).join(', ')
    const domains = count > NAMED ? `${named} and ${count - NAMED} more` : named
    const families = [...this.#families].sort().slice(0, NAMED).join(', ')
    return {
      kind: 'other_family',
      subject: 'store',
      count,
      message:
        `${count} of ${this.#all} domains ${where} have packs of another family (fingerprint ${families}), and ` +
        `${served}: ${domains} cannot be served. Name their family (--family), or ${folder}. Nothing is changed.`,
    }
  }
}

async function familyInStore(store: Pick<Store, 'readStart'>, version: string): Promise<string | null> {
  try {
    const start = await store.readStart(version, START_BYTES)
    return familyOf(start) ?? familyOf(await store.readStart(version, MAX_START_BYTES))
  } catch {
    return null
  }
}
