/**
 * Which family each version is of, and the domains whose packs belong to families that are not served: the sign of a
 * wrong folder, or of a wrong family. They are told at start, together, before each of them fails by itself.
 */
import { short } from '../bytes/digest.js'
import { familyOf } from '../pack/read.js'
import type { Store, StoreProblem, VersionRecord } from '../store/store.js'
import { activeVersion, type DomainState } from './catalog.js'
import type { Families } from './families.js'

/** Bytes of a pack's file that are read first. Most headers are shorter; one with many labels is not. */
const START_BYTES = 64 * 1024
const MAX_START_BYTES = 8 + 2 ** 20
/** Packs that are read at once. */
const READERS = 16
/** Domains that are named. */
const NAMED = 5

/**
 * The states with the family of every version. Records say it; for those written before they did, the header of the
 * pack does. A pack that cannot be read stays without.
 */
export async function withFamilies(
  states: readonly DomainState[],
  store: Pick<Store, 'readStart'>,
): Promise<DomainState[]> {
  const found = new Map<string, string | null>()
  for (const { versions } of states)
    for (const { version, family, seed } of versions)
      if (family === undefined && !seed) found.set(version, null)
  if (found.size === 0) return [...states]
  const next = found.keys()
  const read = async () => {
    for (const version of next) found.set(version, await familyInStore(store, version))
  }
  await Promise.all(Array.from({ length: READERS }, read))
  const complete = (record: VersionRecord) => {
    const family = record.family ?? found.get(record.version) ?? undefined
    return family === undefined ? record : { ...record, family }
  }
  return states.map((state) => ({ ...state, versions: state.versions.map(complete) }))
}

/** @returns a problem for the data folder and one for the shipped packs, where they have active packs of others */
export function otherFamilies(
  states: readonly DomainState[],
  families: Pick<Families, 'served' | 'describe' | 'compressedFrom'>,
): StoreProblem[] {
  const found = { store: new Found(families), seed: new Found(families) }
  for (const state of states) {
    const record = activeVersion(state)
    if (record === undefined) continue
    const other = families.served(record.family) === undefined ? record.family : undefined
    found[record.seed ? 'seed' : 'store'].add(state.domain, other)
  }
  return [
    found.store.problem('in the data folder', 'another data folder (--data)'),
    found.seed.problem('shipped (--adapters)', 'the folder of its packs (--adapters)'),
  ].flatMap((problem) => problem ?? [])
}

class Found {
  readonly #served: Pick<Families, 'describe' | 'compressedFrom'>
  #all = 0
  readonly #others: string[] = []
  readonly #families = new Set<string>()

  constructor(served: Pick<Families, 'describe' | 'compressedFrom'>) {
    this.#served = served
  }

  /** @param other fingerprint of its pack's family, where that is not served */
  add(domain: string, other: string | undefined): void {
    this.#all++
    if (other === undefined) return
    this.#others.push(domain)
    this.#families.add(other)
  }

  problem(where: string, folder: string): StoreProblem | undefined {
    const count = this.#others.length
    if (count === 0) return undefined
    const named = this.#others.sort().slice(0, NAMED).join(', ')
    const domains = count > NAMED ? `${named} and ${count - NAMED} more` : named
    const families = [...this.#families].sort().slice(0, NAMED).map(short).join(', ')
    const compressed = [...this.#families].flatMap((other) => this.#served.compressedFrom(other) ?? [])[0]
    const project =
      compressed === undefined
        ? ''
        : `, or project those of the family that '${compressed}' was compressed from (facet pack project)`
    return {
      kind: 'other_family',
      subject: 'store',
      count,
      message:
        `${count} of ${this.#all} domains ${where} have packs of another family (fingerprint ${families}), and ` +
        `this service serves ${this.#served.describe()}: ${domains} cannot be served. Name their family too (--family), or ${folder}${project}. Nothing is changed.`,
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
