/**
 * What packs say of themselves: names, labels, licences, metrics. To know it a pack's whole file is read: one at a time,
 * however many are asked for, and the last ones that were asked for are kept. A version never changes, so nothing kept
 * is ever wrong.
 */
import { free } from '../bytes/free.js'
import type { Clock } from '../concurrency/clock.js'
import { Gate, type GateWait } from '../concurrency/gate.js'
import { turns } from '../concurrency/turns.js'
import type { PackInfo } from '../pack/pack.js'
import { readPackInfoSteps } from '../pack/read.js'
import type { Packs } from './packs.js'

/** Cards that are kept at most, and the bytes of their texts in memory. */
const MAX_CARDS = 256
const MAX_BYTES = 16 * 1024 * 1024
/** A text takes so many bytes besides those of its characters, of which each takes two at most. */
const BYTES_A_TEXT = 32
const BYTES_A_CHARACTER = 2

interface Kept {
  info: PackInfo
  bytes: number
}

export class Cards {
  readonly #packs: Pick<Packs, 'read'>
  readonly #gate: Gate
  /** The one that was asked for last at the end. */
  readonly #kept = new Map<string, Kept>()
  #bytes = 0

  constructor(packs: Pick<Packs, 'read'>, clock: Clock) {
    this.#packs = packs
    this.#gate = new Gate({ width: 1, clock, purpose: "for the pack's description" })
  }

  /**
   * @param wait who asks and how long it waits for its turn
   * @throws FacetError `domain_failed`, `store_failed`; `client_closed`, `deadline_exceeded` before its turn came
   */
  async read(version: string, wait: GateWait = {}): Promise<PackInfo> {
    return this.#find(version) ?? this.#gate.run(async () => this.#find(version) ?? this.#read(version), wait)
  }

  #find(version: string): PackInfo | undefined {
    const kept = this.#kept.get(version)
    if (kept === undefined) return undefined
    this.#kept.delete(version)
    this.#kept.set(version, kept)
    return kept.info
  }

  async #read(version: string): Promise<PackInfo> {
    const { bytes } = await this.#packs.read(version)
    const info = await turns.run(readPackInfoSteps(bytes)).finally(() => free([bytes]))
    this.#keep(version, { info, bytes: bytesOf(info) })
    return info
  }

  #keep(version: string, kept: Kept): void {
    this.#kept.set(version, kept)
    this.#bytes += kept.bytes
    for (const [oldest, { bytes }] of this.#kept) {
      if (this.#kept.size <= MAX_CARDS && this.#bytes <= MAX_BYTES) break
      this.#kept.delete(oldest)
      this.#bytes -= bytes
    }
  }
}

function bytesOf({ labels, ...rest }: PackInfo): number {
  let bytes = BYTES_A_CHARACTER * JSON.stringify(rest).length
  for (const label of labels ?? []) bytes += BYTES_A_TEXT + BYTES_A_CHARACTER * label.length
  return bytes
}
