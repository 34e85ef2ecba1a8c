/** What is said and done about a data folder that is not the one that was meant. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { servesFamilies } from '../store/glance.js'
import type { StoreProblemKind } from '../store/store.js'

/**
 * Refuses to leave a store in `data/` behind: that was the default for every family, and what was registered there
 * would silently not be served.
 *
 * @param data the default folder of the family
 * @throws Error that says how to move the store, or how to go on with it
 */
export function checkOldData(data: string): void {
  const old = dirname(data)
  if (!existsSync(join(old, 'FORMAT'))) return
  const [from, to] = [relative('', old), relative('', data)]
  throw new Error(
    `The folder ${old} is a store, and the one of this family is now ${data}. If what was registered there belongs to ` +
      `this family, move it while no service runs: mkdir -p ${to} && mv ${from}/FORMAT ${from}/blobs ${from}/domains ${to}/. ` +
      `Otherwise name it: --data ${from}. Nothing was changed.`,
  )
}

/**
 * Refuses to begin an empty store beside one that has domains of these families: the default folder is that of the first
 * family's name, and so changes with `--family`, while a store may hold packs of any family.
 *
 * @param data the default folder
 * @param families fingerprints of those that are served
 * @throws Error that names the other folder, and how to go on with it or without it
 */
export async function checkOtherData(data: string, families: readonly string[]): Promise<void> {
  if (existsSync(join(data, 'FORMAT'))) return
  const all = dirname(data)
  const served = new Set(families)
  for (const name of (await readdir(all).catch(() => [])).sort()) {
    const other = join(all, name)
    if (other === data || !(await servesFamilies(other, served))) continue
    const [there, here] = [relative('', other), relative('', data)]
    throw new Error(
      `The folder ${other} is a store with domains that serve packs of this service's families, and there is none yet in ` +
        `${data}, the default for these families. Go on with it: --data ${there}. Or begin an empty one: --data ${here}. ` +
        'Nothing was changed.',
    )
  }
}

/** Why a service with `--strict-store` is not ready: domains that were registered are not served as they were. */
export function storeObstacle(problems: Readonly<Record<StoreProblemKind, number>>): string | undefined {
  const kinds = ['record_unreadable', 'pack_missing', 'records_missing', 'other_family'] as const
  const found = kinds.filter((kind) => problems[kind] > 0).map((kind) => `${kind} ${problems[kind]}`)
  return found.length === 0
    ? undefined
    : `The store has problems (${found.join(', ')}): the log names them. Mend them and restart (--strict-store).`
}
