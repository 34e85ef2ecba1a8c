/**
 * A family in memory: its manifest, the layout of its bank, and its base. Bytes in, bytes out;
 * `folder.ts` reads the folder it lies in.
 */
import path from 'node:path'
import { FacetError } from '../errors.js'
import type { Pack } from '../pack/pack.js'
import type { Bases } from '../pack/projection.js'
import { type Problems, quote } from '../strict/problems.js'
import { readPack } from '../pack/read.js'
import { FamilyError } from '../manifest/family-error.js'
import { describeGraph, findGraph, type GraphNeed, graphVariants } from '../manifest/graphs.js'
import { type BankLayout, bankLayout } from '../manifest/layout.js'
import type { FamilyManifest, FileEntry } from '../manifest/manifest.js'

export const MANIFEST_FILE = 'family.json'
export const BASE_FILE = 'base.safetensors'

export interface Family {
  /** Absolute. */
  dir: string
  manifest: FamilyManifest
  layout: BankLayout
  /** The base domain's pack, which has every slot. */
  base: Pack
  /** Of a compressed family; null for another. */
  bases: Bases | null
  /**
   * Absolute path of the trunk's graph for a need.
   * @throws FamilyError where the family has none, saying how to make it
   */
  graph(need: GraphNeed): string
  /** The same, or undefined where the family has none. */
  findGraph(need: GraphNeed): string | undefined
}

/** A family of these parts. @param dir absolute path of its folder @param bases of a compressed family */
export function createFamily(
  dir: string,
  manifest: FamilyManifest,
  base: Pack,
  bases: Bases | null = null,
): Family {
  const find = (need: GraphNeed) => {
    const variant = findGraph(manifest, need)
    return variant && path.join(dir, variant.file)
  }
  return {
    dir,
    manifest,
    layout: bankLayout(manifest),
    base,
    bases,
    findGraph: find,
    graph(need) {
      const file = find(need)
      if (file !== undefined) return file
      const found = graphVariants(manifest).map(describeGraph).join('; ')
      const { precision, ...described } = need
      const wanted = describeGraph(precision === 'int8' ? { ...described, weights: 'int8' } : described)
      const remedy =
        precision === 'int8'
          ? 'Make it (facet family quantize)'
          : 'Build it again from its backbone (facet family build)'
      throw new FamilyError(`The family in ${dir}`, [
        `it has no graph for ${wanted}, only for: ${found}. ${remedy}`,
      ])
    },
  }
}

/** Notes where a file is not what the manifest says of it. */
export function checkFile(name: string, found: FileEntry, entry: FileEntry, problems: Problems): void {
  if (found.bytes !== entry.bytes)
    problems.add(`${name} has ${found.bytes} bytes, the manifest says ${entry.bytes}`)
  else if (found.sha256 !== entry.sha256)
    problems.add(`${name} has the SHA-256 ${quote(found.sha256)}, the manifest says ${quote(entry.sha256)}`)
}

/**
 * The base pack. Where it is no pack of the family: null, and problems are noted, as for a slot that it
 * leaves out.
 */
export function readBase(bytes: Uint8Array, manifest: FamilyManifest, problems: Problems): Pack | null {
  let base: Pack
  try {
    base = readPack(bytes, manifest)
  } catch (error) {
    if (!(error instanceof FacetError)) throw error
    for (const problem of error.problems) problems.add(problem)
    return null
  }
  for (const slot of manifest.slots) {
    if (!base.slots.has(slot.name)) {
      problems.add(`slot ${quote(slot.name)} is missing: the base pack must give every slot`)
    }
  }
  return base
}
