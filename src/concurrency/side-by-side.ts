/** Work on many items, of which so many are under way at a time. */

/**
 * Calls `work` for each item, at most `width` at a time. Resolves with what they gave, in the order of the items.
 * @throws what the first failed one threw, when those under way have ended; further ones are not begun
 */
export async function sideBySide<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length)
  const failures: unknown[] = []
  const queue = items.entries()
  const next = async () => {
    for (const [index, item] of queue) {
      try {
        results[index] = await work(item)
      } catch (error) {
        failures.push(error)
      }
      if (failures.length > 0) return
    }
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, next))
  if (failures.length > 0) throw failures[0]
  return results
}
