/**
 * Does the same work for many items, some of them at once, and gives the results in the order of the items.
 *
 * @param width how many at once
 * @throws what the work throws, at its place in the order; no more work begins then
 */
export async function* inOrder<Item, Result>(
  items: Iterable<Item>,
  width: number,
  work: (item: Item, index: number) => Promise<Result>,
): AsyncGenerator<Result> {
  const begun: Promise<Result>[] = []
  let index = 0
  for (const item of items) {
    const result = work(item, index++)
    // A failure waits for its place; until then it is not unhandled.
    result.catch(() => {})
    begun.push(result)
    if (begun.length === width) yield await begun.shift()!
  }
  for (const result of begun) yield await result
}
