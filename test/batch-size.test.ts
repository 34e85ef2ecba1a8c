/** The batch size follows the measured run times. */
import t from 'tap'
import { BatchSizer } from '../src/scheduler/batch-size.js'

/** Runs `count` full batches on a machine that needs `ms(size)` for one. */
function saturate(sizer: BatchSizer, count: number, ms: (size: number, run: number) => number): Set<number> {
  const sizes = new Set<number>()
  for (let run = 0; run < count; run++) {
    const size = sizer.size
    sizes.add(size)
    sizer.record(size, ms(size, run))
  }
  return sizes
}

/** Reproducible noise in [0, 1). */
const noise = (run: number) => ((run * 7919) % 101) / 101

t.test('where an image costs the same in any batch, the smallest one is chosen and the climb stops', (t) => {
  const sizer = new BatchSizer({ max: 64 })
  const tried = saturate(sizer, 100, (size) => size * 9)
  t.equal(sizer.size, 1)
  t.same([...tried], [1, 2, 4])
  t.same(sizer.table()[0], { size: 1, msPerImage: 9, samples: 85 }, 'one look at its neighbour')
  t.same(sizer.table().at(-1), { size: 64, msPerImage: null, samples: 0 })
  t.end()
})

t.test('where larger is better throughout, the maximum is chosen', (t) => {
  const sizer = new BatchSizer({ max: 48 })
  saturate(sizer, 100, (size) => 10 + size * 0.05)
  t.equal(sizer.size, 48)
  t.same(
    sizer.table().map(({ size }) => size),
    [1, 2, 4, 8, 16, 32, 48],
  )
  t.end()
})

t.test('the smallest size within the tolerance of the best', (t) => {
  const machine = (size: number) => 2 + size * 5
  const strict = new BatchSizer({ max: 64 })
  saturate(strict, 100, machine)
  // ms an image: 7, 6, 5.5, 5.25, 5.125, 5.06. The climb ends when two doublings gain less than 5%.
  t.equal(strict.size, 8)
  const lenient = new BatchSizer({ max: 64, tolerance: 0.2 })
  saturate(lenient, 100, machine)
  t.equal(lenient.size, 2)
  t.end()
})

t.test('noise and outliers do not move the choice', (t) => {
  const cpu = new BatchSizer({ max: 32 })
  saturate(cpu, 2000, (size, run) => size * 9 * (1 + 0.02 * noise(run)) + (run % 23 === 0 ? 500 : 0))
  t.equal(cpu.size, 1)
  const gpu = new BatchSizer({ max: 32 })
  saturate(gpu, 2000, (size, run) => (5 + 0.1 * size) * (1 + 0.1 * noise(run)) + (run % 23 === 0 ? 500 : 0))
  t.equal(gpu.size, 32)
  t.end()
})

t.test('batches that are not full neither stop the climb nor teach wrong sizes', (t) => {
  const sizer = new BatchSizer({ max: 16 })
  for (let run = 0; run < 50; run++) sizer.record(3, 1)
  t.equal(sizer.size, 1)
  t.ok(sizer.table().every(({ samples }) => samples === 0))
  t.end()
})

t.test('the choice follows a machine that changes', (t) => {
  const sizer = new BatchSizer({ max: 32 })
  saturate(sizer, 100, (size) => size * 9)
  t.equal(sizer.size, 1)
  saturate(sizer, 10_000, (size) => 10 + size * 0.05)
  t.equal(sizer.size, 32)
  saturate(sizer, 20_000, (size) => size * 9)
  t.equal(sizer.size, 1)
  t.end()
})

t.test('a choice that a disturbance made is soon corrected', (t) => {
  const sizer = new BatchSizer({ max: 8 })
  const machine = (size: number) => 2 + 5 * size
  // Another process keeps the machine busy while the larger batches are tried.
  saturate(sizer, 25, (size) => machine(size) * (size > 2 ? 2 : 1))
  t.equal(sizer.size, 2)
  saturate(sizer, 150, machine)
  t.equal(sizer.size, 4)
  t.end()
})

t.test('a fixed size overrides what is measured', (t) => {
  const sizer = new BatchSizer({ max: 64, fixed: 12 })
  saturate(sizer, 50, (size) => size * 9)
  t.equal(sizer.size, 12)
  t.end()
})

t.test('the same records give the same sizes', (t) => {
  const runs = () => {
    const sizer = new BatchSizer({ max: 32 })
    const sizes: number[] = []
    for (let run = 0; run < 3000; run++) {
      sizes.push(sizer.size)
      sizer.record(sizer.size, (4 + sizer.size) * (1 + noise(run)))
    }
    return sizes
  }
  t.same(runs(), runs())
  t.end()
})

t.test('the time of a batch is estimated from the next size that is known', (t) => {
  const sizer = new BatchSizer({ max: 6 })
  t.equal(sizer.runMs(1), null, 'nothing before enough runs')
  saturate(sizer, 100, (size) => 10 + 2 * size)
  t.same(
    [1, 2, 3, 4, 5, 6].map((size) => sizer.runMs(size)),
    [12, 14, 18, 18, 22, 22],
  )
  t.equal(sizer.runMs(7), null, 'nor beyond the largest')
  const fixed = new BatchSizer({ max: 8, fixed: 8 })
  saturate(fixed, 5, () => 40)
  t.equal(fixed.runMs(1), 40, 'sizes that never ran are taken for the next one that did')
  t.end()
})
