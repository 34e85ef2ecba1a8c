/** The images of one request, side by side: which failure is told, and what is called off because of it. */
import { FacetError } from '../errors.js'

/**
 * Works on items side by side. Where several fail, the failure of the lowest index is told, not the first in time:
 * when an item fails, only the items after it are called off (their signals abort).
 *
 * @param signal aborted when the client leaves
 * @param work gets the item, its index, and a signal that aborts when the client leaves or the item is called off
 * @returns the results in the order of the items, when no work is under way any more
 * @throws the failure of the lowest index; a FacetError `.at` that index, where there are several items
 */
export async function together<Item, T>(
  items: readonly Item[],
  signal: AbortSignal | undefined,
  work: (item: Item, index: number, signal: AbortSignal | undefined) => Promise<T>,
): Promise<T[]> {
  if (items.length === 1) return [await work(items[0]!, 0, signal)]
  const results: T[] = []
  const withdrawals = items.map(() => new AbortController())
  let failure: { index: number; error: unknown } | undefined
  await Promise.all(
    items.map(async (item, index) => {
      const withdrawal = withdrawals[index]!.signal
      const own = signal === undefined ? withdrawal : AbortSignal.any([signal, withdrawal])
      try {
        results[index] = await work(item, index, own)
      } catch (error) {
        if (failure && failure.index <= index) return
        failure = { index, error: error instanceof FacetError ? error.at(index) : error }
        for (const later of withdrawals.slice(index + 1)) later.abort()
      }
    }),
  )
  if (failure) throw failure.error
  return results
}
