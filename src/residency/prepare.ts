/**
 * From a pack's bytes to the tensors of a bank row.
 *
 * An ordinary pack takes a few milliseconds on the thread that does HTTP. The work takes turns with other work,
 * so that a pack at the limits, a hundred milliseconds of it, does not hold the thread.
 */
import { free } from '../bytes/free.js'
import { turns } from '../concurrency/turns.js'
import type { RowTensors } from '../engine/batch.js'
import type { BankDtype } from '../engine/plan.js'
import type { Design } from '../manifest/manifest.js'
import { type Extent, extentOf } from '../pack/extent.js'
import type { Family } from '../family/family.js'
import type { Activation, Pack } from '../pack/pack.js'
import { readPackSteps } from '../pack/read.js'
import { ownRowSteps } from '../engine/row.js'
import { sha256 } from '../bytes/digest.js'

/** What an answer needs to know of a resident version, and what its row holds. */
export interface About extends Extent {
  design: Design
  /** Null for a pack without a head. */
  labels: readonly string[] | null
  activation: Activation
}

export interface Prepared {
  /** SHA-256 (hex) of the bytes. */
  version: string
  /** Fingerprint of the family that the pack is of. */
  family: string
  about: About
  /** Size of the pack file. */
  bytes: number
  /** New tensors at each call, because the engine takes their buffers over. @throws Error after `release` */
  row(): Promise<RowTensors>
  /** Frees the decoded weights at once. The pack's bytes stay the caller's. */
  release(): void
}

/** @throws FacetError `invalid_pack` (422) with every problem found */
export type Prepare = (bytes: Uint8Array) => Promise<Prepared>

/** @param families a pack of any of them is taken, and becomes a row of that one's bank */
export function preparer(families: readonly [Family, ...Family[]], dtype: BankDtype): Prepare {
  const [first, ...others] = families
  const manifests = [first.manifest, ...others.map(({ manifest }) => manifest)] as const
  return async (bytes) => {
    /** Arrays of the pack that are no views on `bytes`. */
    const decoded = new Set<Float32Array>()
    let released = false
    const check = () => {
      if (released) throw new Error('a row of a pack that was released')
    }
    const read = async () => {
      const pack = await turns.run(readPackSteps(bytes, manifests), { check })
      for (const array of arraysOf(pack)) if (array.buffer !== bytes.buffer) decoded.add(array)
      return pack
    }
    const whole = await read()
    const family = families.find(({ manifest }) => manifest.fingerprint === whole.family)!
    let unused: Pack | null = whole
    return {
      version: await sha256(bytes),
      family: whole.family,
      about: about(whole, extentOf(whole, family.base)),
      bytes: bytes.length,
      async row() {
        check()
        const ready = unused
        // The row takes the decoded arrays over; for another row (the engine restarted) the pack is read
        // again.
        unused = null
        const pack = ready ?? (await read())
        const mayTake = (array: Float32Array) => decoded.has(array)
        return turns.run(ownRowSteps(pack, family, dtype, mayTake), { check })
      },
      release() {
        released = true
        free([...decoded])
      },
    }
  }
}

/** Every array of a pack: those of its head, and all parts that its slots have, whatever their kind. */
export function arraysOf({ slots, head }: Pick<Pack, 'slots' | 'head'>): Float32Array[] {
  const ofHead = head ? [head.weight, head.bias] : []
  return [...ofHead, ...[...slots.values()].flatMap((parts) => Object.values(parts))]
}

function about({ design, labels, activation }: Pack, extent: Extent): About {
  return { design, labels, activation, ...extent }
}

/** Of the family's own pack, whose row is whole. */
export function aboutBase(base: Pack): About {
  return about(base, { adapter: 'whole', classes: base.head?.classes ?? 0, halfHead: false })
}
