/**
 * The families of one service: their folders are read, and checked against each other. What is made of each of them is
 * `family-runtime.ts`'s business.
 */
import { readdir } from 'node:fs/promises'
import { short } from '../bytes/digest.js'
import type { Family } from '../family/family.js'
import { readFamily } from '../family/folder.js'
import { naming } from '../host/file-problem.js'

/** At least one. */
export type Each<T> = readonly [T, ...T[]]

/** One of each, in the same order. */
export function forEach<T, R>([first, ...others]: Each<T>, make: (item: T, index: number) => R): Each<R> {
  return [make(first, 0), ...others.map((item, index) => make(item, index + 1))]
}

/** @throws Error for a folder that is not there */
export async function checkFolders(folders: Each<string>): Promise<void> {
  const remedy = 'Build one with facet family build, or leave the option out for the shipped one.'
  for (const folder of folders) await naming('The family (--family)', folder, remedy, () => readdir(folder))
}

/**
 * Reads the families, the first one first.
 * @throws FamilyError for a folder that is no sound family; Error for two of one name or of one fingerprint, between
 * which a request or a pack could not choose
 */
export async function readFamilies(folders: Each<string>): Promise<Each<Family>> {
  const families: Family[] = []
  for (const folder of folders) {
    const family = await readFamily(folder)
    for (const other of families) checkDifferent(other, family)
    families.push(family)
  }
  return families as unknown as Each<Family>
}

function checkDifferent(one: Family, other: Family): void {
  const both = `The families in ${one.dir} and ${other.dir} (--family)`
  const { name, fingerprint } = other.manifest
  if (one.manifest.fingerprint === fingerprint)
    throw new Error(
      `${both} are the same family (fingerprint ${short(fingerprint)}): a pack of one would be a pack of the other. Name it once.`,
    )
  if (one.manifest.name === name)
    throw new Error(
      `${both} are both named '${name}', and are told apart by their names. Build one of them under another name (facet family build --name).`,
    )
}
