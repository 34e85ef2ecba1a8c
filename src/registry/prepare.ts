/**
 * From a pack's bytes to what a bank row needs: the one place where the registry computes on packs.
 *
 * A few milliseconds on the calling thread. It is behind one function so that it can move to another.
 */
import { free } from '../free.js'
import type { BankDtype, RowTensors } from '../engine/messages.js'
import type { Design } from '../manifest/manifest.js'
import type { Family } from '../family/family.js'
import type { Activation, Pack } from '../pack/pack.js'
import { readPack } from '../pack/read.js'
import { packRow } from '../engine/row.js'
import { sha256 } from '../digest.js'

/** What answers need to know of a version while it is resident. */
export interface About {
  design: Design
  /** Null for a pack without a head. */
  labels: readonly string[] | null
  activation: Activation
  /** 0 without a head. */
  classes: number
}

export interface Prepared extends About {
  /** SHA-256 (hex) of the bytes. */
  version: string
  /** Size of the pack file. */
  bytes: number
  /** A fresh row each time: the engine takes its buffers over. @throws Error after `release` */
  row(): RowTensors
  /** Frees the decoded weights, now; the bytes they came in are the caller's. */
  release(): void
}

/** @throws FacetError `invalid_pack` (422) with every problem found */
export type Prepare = (bytes: Uint8Array) => Promise<Prepared>

export function preparer(family: Family, dtype: BankDtype): Prepare {
  return async (bytes) => {
    const pack = readPack(bytes, family.manifest)
    let released = false
    return {
      ...about(pack),
      version: await sha256(bytes),
      bytes: bytes.length,
      row() {
        if (released) throw new Error('a row of a pack that was released')
        return packRow(pack, family.base, family.manifest, family.layout, dtype)
      },
      release() {
        released = true
        free(weightsOf(pack).filter(({ buffer }) => buffer !== bytes.buffer))
      },
    }
  }
}

function weightsOf({ slots, head }: Pack): Float32Array[] {
  const weights = head ? [head.weight, head.bias] : []
  for (const { scale, bias, matrix } of slots.values()) weights.push(scale, bias, ...(matrix ? [matrix] : []))
  return weights
}

export function about(pack: Pack): About {
  const { design, labels, activation, head } = pack
  return { design, labels, activation, classes: head?.classes ?? 0 }
}
