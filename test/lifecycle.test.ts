/** An engine's states, with lanes that do what the test says. */
import { pino } from 'pino'
import t from 'tap'
import { LaneGone, type LaneGroup, RequestFailed } from '../src/engine/lane-group.js'
import { Lifecycle } from '../src/engine/lifecycle.js'
import type { Ready } from '../src/engine/plan.js'
import { Awaited } from '../src/engine/unanswered.js'
import { ManualClock, settle } from './manual-clock.js'

/** Lanes of one launch. They are gone as soon as one is lost, or when they are asked to end. */
class Launched {
  readonly ready = new Awaited<Ready>()
  readonly lost = new Awaited<Error>()
  readonly group = {
    lost: this.lost.answer,
    gone: this.lost.answer,
    start: () => this.ready.answer,
    allReady: () => Promise.resolve(),
    finish: () => this.lose('asked to end'),
  } as unknown as LaneGroup

  lose(reason: string): void {
    this.lost.resolve(new Error(reason))
    this.ready.reject(new LaneGone(reason))
  }
}

function lifecycle() {
  const launches: Launched[] = []
  const told: unknown[] = []
  const clock = new ManualClock()
  const faults: string[] = []
  const launch = () => {
    const launched = new Launched()
    launches.push(launched)
    return launched.group
  }
  const life = new Lifecycle({
    maker: { trunks: 1, launch },
    check: async () => {
      const fault = faults.pop()
      if (fault !== undefined) throw new Error(fault)
    },
    logger: pino({ level: 'silent' }),
    clock,
    onDown: ({ message }) => told.push(message),
    onUp: (generation) => told.push(generation),
  })
  const start = async () => {
    const started = life.start()
    launches.at(-1)!.ready.resolve({ provider: 'cpu' })
    await started
  }
  /** Makes the next try, and returns its lanes. */
  const again = async (ms: number) => {
    clock.advance(ms)
    await settle()
    return launches.at(-1)!
  }
  return { life, launches, told, clock, faults, start, again }
}

t.test('each launch that becomes ready is a generation', async (t) => {
  const { life, launches, told, start, again } = lifecycle()
  t.match(life, { state: 'starting', generation: 0, provider: '' })
  t.throws(() => life.live(), { code: 'engine_restarting' })
  await start()
  t.match(life, { state: 'ready', generation: 1, provider: 'cpu' })
  t.equal(life.live(), launches[0]!.group)
  launches[0]!.lose('it crashed')
  await settle()
  t.match(life, { state: 'restarting', generation: 1 })
  t.throws(() => life.live(), { code: 'engine_restarting' })
  const next = await again(100)
  next.ready.resolve({ provider: 'cpu' })
  await settle()
  t.match(life, { state: 'ready', generation: 2 })
  t.equal(life.live(), next.group)
  t.strictSame(told, [1, 'it crashed', 2])
})

t.test('a first start that fails ends it; a later one is tried again, ever later', async (t) => {
  const first = lifecycle()
  const started = first.life.start()
  first.launches[0]!.ready.reject(new RequestFailed('no such trunk'))
  await t.rejects(started, { message: 'no such trunk' })
  t.equal(first.life.state, 'stopped')
  t.strictSame([first.launches.length, first.told, first.clock.pending], [1, [], 0])

  const { life, launches, told, faults, start, again } = lifecycle()
  await start()
  launches[0]!.lose('it crashed')
  await settle()
  const second = await again(100)
  second.lose('it crashed again')
  await settle()
  faults.push('another trunk')
  t.equal(await again(200), second, 'lanes that would be others are not started')
  t.equal(await again(399), second)
  t.equal(life.state, 'restarting')
  const third = await again(1)
  t.not(third, second)
  third.ready.resolve({ provider: 'cpu' })
  await settle()
  t.strictSame(told, [1, 'it crashed', 2], 'down once, and up once')
})

t.test('a stop ends it in any state, once and for all', async (t) => {
  for (const state of ['starting', 'ready', 'restarting', 'restarting, launched'] as const) {
    const { life, launches, told, clock, start, again } = lifecycle()
    let started: Promise<void> | undefined
    if (state === 'starting') started = life.start()
    else await start()
    if (state.startsWith('restarting')) {
      launches[0]!.lose('it crashed')
      await settle()
    }
    if (state === 'restarting, launched') await again(100)
    const before = [...told]
    const stopped = life.stop()
    t.equal(life.state, 'stopping', state)
    t.throws(() => life.live(), { code: 'draining' })
    await stopped
    if (started) await t.rejects(started, { code: 'draining' })
    await settle()
    t.equal(life.state, 'stopped')
    t.strictSame([told, clock.pending], [before, 0], 'it tells nothing more, and tries nothing')
  }
  const { life, launches } = lifecycle()
  await life.stop()
  await t.rejects(life.start(), { code: 'draining' })
  t.strictSame([life.state, launches.length], ['stopped', 0])
})
