/**
 * Packs with whole matrices become packs of a compressed family when they are registered: what is stored, served and given
 * back is the projected pack, and its version is the hash of that.
 */
import { turns } from '../concurrency/turns.js'
import { FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import {
  type Form,
  formSteps,
  isWhole,
  type Projection,
  projectedSteps,
  worstSlot,
} from '../pack/projection.js'

export interface Registered {
  /** What the store is to hold. */
  bytes: Uint8Array
  /** Null where the pack stays as it is. */
  projection: Projection | null
}

/** @throws FacetError `invalid_pack` (422) for a pack with problems, or one that would lose more than is allowed */
export type Project = (bytes: Uint8Array) => Promise<Registered>

/**
 * @param families those that are served
 * @param maxError the largest share of its output that a slot may lose
 */
export function projector(families: readonly Family[], maxError: number): Project {
  const some = families.some(({ bases }) => bases)
  return async (bytes) => {
    const form = some ? await turns.run(formSteps(bytes)) : null
    const family = form && familyFor(form, families)
    if (!form || !family) return { bytes, projection: null }
    const { manifest } = family
    const bases = family.bases!
    const projected = await turns.run(projectedSteps(bytes, form, { manifest, bases }))
    check(projected.projection, manifest.name, maxError)
    return projected
  }
}

/**
 * The compressed family on whose bases a pack is to be projected: the one that it names, where it has matrices of its own;
 * or one that was made of the family that it names, where that is not served itself.
 */
function familyFor(form: Form, families: readonly Family[]): Family | undefined {
  const { family: named } = form
  if (named === undefined) return undefined
  const own = families.find(({ manifest }) => manifest.fingerprint === named)
  if (own) return own.bases && isWhole(form, own.manifest) ? own : undefined
  return families.find(({ manifest }) => manifest.compressed?.fingerprint === named)
}

function check(projection: Projection, family: string, maxError: number): void {
  const worst = worstSlot(projection)
  if (!worst || maxError >= 1 || worst.error <= maxError) return
  const problems = projection.slots
    .filter(({ error }) => error > maxError)
    .map(
      ({ slot, error }) =>
        `slot "${slot}" loses ${percent(error)} of its output, and ${percent(maxError)} is allowed`,
    )
  throw new FacetError(
    'invalid_pack',
    `The pack loses too much on the bases of family "${family}": ${problems[0]} (--max-projection-error). Compress the family anew with this pack among the others, or serve the pack's own family beside it.`,
    { problems },
  )
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`
}
