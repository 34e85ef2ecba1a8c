/**
 * The arithmetic of the benchmark and the queue of the dedicated sessions, on which every published ratio
 * rests.
 */
import t from 'tap'
import type { DedicatedFleet } from '../bench/speed/dedicated.js'
import { DedicatedQueue } from '../bench/speed/dedicated-queue.js'
import { jsonLine, keys, table } from '../bench/speed/report.js'
import type { RowResult } from '../bench/speed/rows.js'
import { cpuSpeedup, flow, interleave, median, quantile, speedups, spread } from '../bench/statistics.js'

t.test('medians and quantiles are values that were measured', async (t) => {
  t.equal(median([5, 1, 9]), 5)
  t.equal(quantile([4, 3, 2, 1], 0.99), 4)
  t.equal(quantile([4, 3, 2, 1], 0), 1)
  t.throws(() => median([]), /nothing was measured/)
  t.equal(spread([1, 2, 3, 4], 1), '3.0 (2.0-4.0, n=4)')
})

t.test(
  'a speedup is the other side’s time over ours, round by round, and above 1 where we are faster',
  async (t) => {
    const ours = [
      { ms: 2, cpuMs: 4 },
      { ms: 5, cpuMs: 4 },
    ]
    const theirs = [
      { ms: 4, cpuMs: 2 },
      { ms: 5, cpuMs: 2 },
    ]
    t.same(speedups(ours, theirs), [2, 1])
    t.equal(cpuSpeedup(ours, theirs), 0.5)
  },
)

t.test('sides take turns, in reversed order every second round; the warm-up is not kept', async (t) => {
  const order: string[] = []
  const side = (name: string) => async () => {
    order.push(name)
    return { ms: order.length, cpuMs: 0 }
  }
  const slices = await interleave({ a: side('a'), b: side('b') }, 0)
  t.equal(order.join(''), 'ab' + 'ab' + 'ba' + 'ab')
  t.same(
    slices.a.map(({ ms }) => ms),
    [3, 6, 7],
  )
})

t.test('a flow keeps so many calls in flight and counts the images of each', async (t) => {
  let [now, most, calls] = [0, 0, 0]
  const work = async () => {
    calls++
    most = Math.max(most, ++now)
    await new Promise(setImmediate)
    now--
  }
  const { ms } = await flow(40, 4, work, 5)
  t.equal(most, 4)
  t.ok(calls >= 8 && calls < 8 + 4, `${calls} calls of 5 images for 40`)
  t.ok(ms > 0)
})

t.test('the JSON line has every key in order, null where not measured, with the reason', async (t) => {
  const row = (own: string[], values: RowResult['values'], detail = 'well'): RowResult => {
    return { keys: own, what: 'what', target: 'target', values, detail, seconds: 1 }
  }
  const rows = [
    row(['switching'], { switching: null }, 'not measured: no such thing'),
    row(['mixed_vs_dedicated'], { mixed_vs_dedicated: 0.876_543, chosen_batch: 2 }),
  ]
  const line = JSON.parse(jsonLine(rows, 12.4)) as Record<string, unknown>
  t.same(Object.keys(line).slice(0, keys.length), keys)
  t.match(line, { mixed_vs_dedicated: 0.8765, switching: null, cold_ms: null, chosen_batch: 2, seconds: 12 })
  t.same(line.not_measured, ['switching: not measured: no such thing'])
  t.ok(table(rows).indexOf('mixed_vs_dedicated 0.8765') < table(rows).indexOf('switching -'))
})

/** Runs that end when the test says so. */
function heldFleet(workers: number) {
  const runs: { session: number; images: number; end(): void }[] = []
  const run = (session: number, _: Uint8Array, [images]: number[]) =>
    new Promise<Float32Array>((resolve) => {
      runs.push({ session, images: images!, end: () => resolve(new Float32Array()) })
    })
  return { runs, fleet: { options: { workers }, run } as unknown as DedicatedFleet }
}

const turn = () => new Promise(setImmediate)

t.test(
  'the rival batches what waits for one domain, oldest first, and has the next batch ready',
  async (t) => {
    const { runs, fleet } = heldFleet(1)
    const queue = new DedicatedQueue(fleet, 2, 2)
    const answers = [5, 6, 7, 6, 6].map((domain) => queue.predict(domain, new Uint8Array(12)))
    const seen = () => runs.map(({ session, images }) => `${session}x${images}`)
    t.same(seen(), ['5x1', '6x1'], 'one run under way and one ready')
    runs[0]!.end()
    await turn()
    runs[1]!.end()
    await turn()
    t.same(seen(), ['5x1', '6x1', '7x1', '6x2'], 'both images of domain 6 in one batch')
    for (const { end } of runs) end()
    await Promise.all(answers)
  },
)

t.test('each of the rival’s workers has its own domains', async (t) => {
  const { runs, fleet } = heldFleet(2)
  const queue = new DedicatedQueue(fleet, 8, 2)
  const answers = [0, 2, 4, 1].map((domain) => queue.predict(domain, new Uint8Array(12)))
  t.same(
    runs.map(({ session }) => session),
    [0, 2, 1],
  )
  for (const { end } of runs) end()
  await turn()
  for (const { end } of runs) end()
  await Promise.all(answers)
})
