/** What is said and done about a data folder that is not the one that was meant. */
import { existsSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
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

/** Why a service with `--strict-store` is not ready: domains that were registered are not served as they were. */
export function storeObstacle(problems: Readonly<Record<StoreProblemKind, number>>): string | undefined {
  const kinds = ['record_unreadable', 'pack_missing', 'records_missing', 'other_family'] as const
  const found = kinds.filter((kind) => problems[kind] > 0).map((kind) => `${kind} ${problems[kind]}`)
  return found.length === 0
    ? undefined
    : `The store has problems (${found.join(', ')}): the log names them. Mend them and restart (--strict-store).`
}
