/**
 * The service is ready if every lane has just run an image; the answer comes in time whatever the lanes do.
 */
import { pino } from 'pino'
import t from 'tap'
import { Readiness } from '../src/serve/readiness.js'
import { ManualClock, settle } from './manual-clock.js'

function rig() {
  const clock = new ManualClock()
  const lines: string[] = []
  const logger = pino({}, { write: (line) => void lines.push(JSON.parse(line).msg) })
  const probes: { resolve(): void; reject(error: Error): void }[] = []
  const engine = {
    state: 'ready',
    probe: () => new Promise<void>((resolve, reject) => void probes.push({ resolve, reject })),
  }
  const readiness = new Readiness({ engines: [{ family: 'tiny', engine }], clock, logger, timeoutMs: 1000 })
  return { clock, engine, lines, probes, readiness }
}

t.test('one forward pass serves all who ask, and holds for a while', async (t) => {
  const { clock, probes, readiness } = rig()
  const asked = [readiness.check(), readiness.check()]
  t.equal(probes.length, 1)
  probes[0]!.resolve()
  t.same(await Promise.all(asked), [{ ready: true }, { ready: true }])
  clock.advance(1999)
  t.same(await readiness.check(), { ready: true })
  t.equal(probes.length, 1)
  clock.advance(1)
  const later = readiness.check()
  t.equal(probes.length, 2)
  probes[1]!.reject(new Error('not finite'))
  t.match(await later, { ready: false, reason: /forward pass/ })
  t.equal(clock.pending, 0)
})

t.test('what is in the way of readiness is told without asking the lanes', async (t) => {
  const { clock, probes } = rig()
  const logger = pino({ level: 'silent' })
  const engine = { state: 'ready', probe: async () => void probes.push({ resolve() {}, reject() {} }) }
  let reason: string | undefined = 'The store has problems.'
  const readiness = new Readiness({
    engines: [{ family: 'tiny', engine }],
    clock,
    logger,
    timeoutMs: 1000,
    obstacle: () => reason,
  })
  t.same(await readiness.check(), { ready: false, code: 'store_problems', reason: 'The store has problems.' })
  t.equal(probes.length, 0)
  reason = undefined
  t.same(await readiness.check(), { ready: true })
})

t.test(
  'a lane that hangs is reported in time, and logged once however often readiness is asked',
  async (t) => {
    const { clock, lines, probes, readiness } = rig()
    const first = readiness.check()
    clock.advance(600)
    const second = readiness.check()
    clock.advance(400)
    t.match(await Promise.all([first, second]), [
      { ready: false, reason: /does not answer/ },
      { ready: false },
    ])
    const third = readiness.check()
    clock.advance(0)
    t.match(await third, { ready: false, reason: /does not answer/ })
    t.equal(probes.length, 1)
    t.same(lines, ['a lane of the engine does not answer'])
    probes[0]!.resolve()
    await settle()
    t.same(await readiness.check(), { ready: true }, 'it has answered at last')
  },
)

t.test('a stop during the check is the answer', async (t) => {
  const { engine, probes, readiness } = rig()
  engine.state = 'restarting'
  t.match(await readiness.check(), { ready: false, reason: /restarting/ })
  engine.state = 'ready'
  const asked = readiness.check()
  readiness.drain()
  probes[0]!.resolve()
  t.match(await asked, { ready: false, code: 'draining' })
  t.match(await readiness.check(), { ready: false, code: 'draining' })
  t.equal(readiness.draining, true)
})
