/** V8's young generation under load: it grows to its bound and no further. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { getHeapSpaceStatistics } from 'node:v8'
import t from 'tap'
import { growth, tuneCollector } from '../src/serve/collector.js'

const MIB = 2 ** 20

function youngBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')!.space_size
}

/** Objects that live for some collections, as requests do. V8 by itself then takes 32 MiB for the young ones. */
async function work(rounds: number): Promise<number> {
  const alive = new Map<number, unknown>()
  let largest = 0
  for (let round = 0; round < rounds; round++) {
    for (let object = 0; object < 20_000; object++)
      alive.set(object % 5000, { round, object, name: `${object}` })
    largest = Math.max(largest, youngBytes())
    await nextTurn()
  }
  return largest
}

t.test('it ends at 8 MiB', async (t) => {
  tuneCollector()
  t.equal(await work(150), 8 * MIB)
})

t.test('it doubles up to there, also after V8 has shrunk it', async (t) => {
  const doubles = '--semi-space-growth-factor=2'
  t.same(
    [1, 2, 4].map((mib) => growth(mib * MIB)),
    [doubles, doubles, doubles],
  )
  t.same(
    [5, 8, 16].map((mib) => growth(mib * MIB)),
    Array(3).fill('--semi-space-growth-factor=1'),
  )
})
