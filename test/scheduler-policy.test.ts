/** What the next batch consists of, as a table: a line, a situation, a plan. */
import t from 'tap'
import { Line } from '../src/scheduler/line.js'
import { nextBatch, type Situation } from '../src/scheduler/policy.js'

/** A line of entries named after their domain and their turn: `a1`, `a2`, `b1`. */
function lineOf(...entries: string[]) {
  const line = new Line<{ principal: string; domain: string; name: string }>({
    places: () => 2,
    few: () => 0,
  })
  for (const name of entries) line.push({ principal: '', domain: name[0]!, name })
  return line
}

const flood = ['f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7', 'f8', 'f9']
const onCpu = (size: number) => 0.5 + size
const onGpu = (size: number) => 10 + size / 10

const cases: [
  name: string,
  entries: string[],
  situation: Partial<Situation>,
  quiet: string[],
  size: number,
][] = [
  ['an empty line', [], {}, [], 0],
  ['fewer than a batch: all of them', ['a1', 'b1'], {}, [], 2],
  ['more than a batch: a full one', [...'abcdefg'].map((domain) => `${domain}1`), {}, [], 4],
  ['two free lanes share what waits', ['a1', 'b1', 'c1', 'd1'], { free: 2, unserved: 2, lanes: 2 }, [], 2],
  [
    'a CPU leaves a busy lane its share',
    ['a1', 'b1', 'c1', 'd1'],
    { unserved: 2, lanes: 2, runMs: onCpu },
    [],
    2,
  ],
  [
    'a GPU does not: half the images take as long',
    ['a1', 'b1', 'c1', 'd1'],
    { unserved: 2, lanes: 2, runMs: onGpu },
    [],
    4,
  ],
  ['a quiet domain beside a flood runs by itself', [...flood, 'q1'], { runMs: onCpu }, ['q1'], 4],
  [
    'one image may cost nearly three times its share of a full batch',
    [...flood, 'q1'],
    { maxBatch: 8, runMs: (size) => [0, 2.9, 3.9][size] ?? size },
    ['q1'],
    8,
  ],
  [
    'not where more than a quarter of a full batch would be lost',
    [...flood, 'q1'],
    { maxBatch: 8, runMs: (size) => [0, 3.1, 3.9][size] ?? size },
    [],
    8,
  ],
  ['not twice in a row', [...flood, 'q1'], { runMs: onCpu, lastWasQuiet: true }, [], 4],
  ['not where no time is known', [...flood, 'q1'], {}, [], 4],
  ['not on a GPU, where a small batch is as long as a full one', [...flood, 'q1'], { runMs: onGpu }, [], 4],
  ['not where few wait', [...flood, 'q1'], { runMs: onCpu, few: 10 }, [], 4],
  ['not where all that waits fits into a batch', ['f1', 'f2', 'f3', 'q1'], { runMs: onCpu }, [], 4],
  [
    'as many quiet ones as take half of a full batch',
    [...flood, 'q1', 'r1', 's1', 't1'],
    { maxBatch: 8, runMs: onCpu },
    ['q1', 'r1', 's1'],
    8,
  ],
]

for (const [name, entries, situation, quiet, size] of cases) {
  t.test(name, async (t) => {
    const line = lineOf(...entries)
    const plan = nextBatch(line, {
      free: 1,
      unserved: 1,
      lanes: 1,
      maxBatch: 4,
      few: 0,
      runMs: () => null,
      lastWasQuiet: false,
      ...situation,
    })
    t.same(
      plan.quiet.map((entry) => entry.name),
      quiet,
    )
    t.equal(plan.size, size)
    t.equal(line.length, entries.length, 'the line is only read')
  })
}
