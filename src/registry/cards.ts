/**
 * What packs say of themselves: names, labels, licences, metrics. To know it a pack's whole file is read, so the last
 * ones that were asked for are kept. A version never changes, so nothing kept is ever wrong.
 */
import { free } from '../bytes/free.js'
import { turns } from '../concurrency/turns.js'
import type { PackInfo } from '../pack/pack.js'
import { readPackInfoSteps } from '../pack/read.js'
import type { Packs } from './packs.js'

/** Cards that are kept at most, and labels of all of them. */
const MAX_CARDS = 256
const MAX_LABELS = 200_000

export class Cards {
  readonly #packs: Pick<Packs, 'read'>
  /** The one that was asked for last at the end. */
  readonly #kept = new Map<string, PackInfo>()
  readonly #reading = new Map<string, Promise<PackInfo>>()
  #labels = 0

  constructor(packs: Pick<Packs, 'read'>) {
    this.#packs = packs
  }

  /** @throws FacetError `domain_failed`, `store_failed` */
  async read(version: string): Promise<PackInfo> {
    const kept = this.#kept.get(version)
    if (kept !== undefined) {
      this.#kept.delete(version)
      this.#kept.set(version, kept)
      return kept
    }
    const begun = this.#reading.get(version) ?? this.#read(version)
    this.#reading.set(version, begun)
    return begun
  }

  async #read(version: string): Promise<PackInfo> {
    try {
      const { bytes } = await this.#packs.read(version)
      const info = await turns.run(readPackInfoSteps(bytes)).finally(() => free([bytes]))
      this.#keep(version, info)
      return info
    } finally {
      this.#reading.delete(version)
    }
  }

  #keep(version: string, info: PackInfo): void {
    this.#kept.set(version, info)
    this.#labels += labelsOf(info)
    for (const [oldest, info] of this.#kept) {
      if (this.#kept.size <= MAX_CARDS && this.#labels <= MAX_LABELS) break
      this.#kept.delete(oldest)
      this.#labels -= labelsOf(info)
    }
  }
}

function labelsOf({ labels }: PackInfo): number {
  return labels?.length ?? 0
}
