/**
 * SIGKILL of a real process that uploads to a store on a real folder: at every file operation of its start
 * and of its uploads, and at moments of chance. What it acknowledged is there afterwards, and the successor
 * has the lock at once.
 */
import { spawn } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LocalStore } from '../src/store/local.js'
import type { DomainRecord } from '../src/store/store.js'
import { ManualClock } from './manual-clock.js'
import { Random } from './random.js'
import { compileProgram } from './service-process.js'
import { recordsOf } from './store-history.js'

interface Message {
  begin?: string
  record?: DomainRecord | null
  done?: string
  opened?: unknown[]
  killed?: string
}

async function compileVictim(dir: string): Promise<string> {
  await compileProgram(dir, ['src', 'test/fixtures'])
  return join(dir, 'test', 'fixtures', 'store-victim.js')
}

/** Runs the process until it is dead. @param killAfter lines it may say before it is killed from outside */
async function runVictim(script: string, args: string[], killAfter = Number.POSITIVE_INFINITY) {
  // An environment of its own: the test runner's would load its instruments into every child.
  const child = spawn(process.execPath, [script, ...args], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (bytes: Buffer) => {
    out += bytes.toString()
    if (out.split('\n').length > killAfter) child.kill('SIGKILL')
  })
  child.stderr.on('data', (bytes: Buffer) => {
    err += bytes.toString()
  })
  const signal = await new Promise((resolve) => child.on('close', (_, signal) => resolve(signal)))
  const messages = out
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Message)
  return { messages, signal, err }
}

/** What the folder must hold, from what the killed processes have printed. */
class Ledger {
  readonly #sure = new Map<string, DomainRecord | null>()
  #open: { domain: string; record: DomainRecord | null } | null = null

  read(messages: readonly Message[]): void {
    for (const { begin, record, done } of messages) {
      if (begin !== undefined) this.#open = { domain: begin, record: record! }
      if (done !== undefined) {
        this.#sure.set(done, this.#open!.record)
        this.#open = null
      }
    }
  }

  /** Opens the store, compares it, and continues from its state. */
  async check(t: Test, dir: string, when: string): Promise<void> {
    const store = new LocalStore({ dir, clock: new ManualClock() })
    t.strictSame(await store.open(), [], `${when}: opens at once, without problems`)
    const found = await recordsOf(store)
    for (const domain of new Set([...this.#sure.keys(), ...found.keys()])) {
      const allowed = [this.#sure.get(domain) ?? null]
      if (this.#open?.domain === domain) allowed.push(this.#open.record)
      const actual = found.get(domain) ?? null
      t.ok(
        allowed.some((record) => JSON.stringify(record) === JSON.stringify(actual)),
        `${when}: ${domain} is as acknowledged`,
      )
      this.#sure.set(domain, actual)
      for (const { version } of actual?.versions ?? []) await store.readBlob(version)
    }
    this.#open = null
    await store.close()
    t.strictSame(await readdir(join(dir, 'tmp')), [], `${when}: no temporary file is left`)
  }
}

t.test('killed at every step of its start and its uploads', async (t) => {
  const root = t.testdir()
  const script = await compileVictim(join(root, 'victim'))
  const steps = new Set<string>()
  let kills = 0
  const kill = async (dir: string, step: number, ledger: Ledger): Promise<void> => {
    const { messages, signal, err } = await runVictim(script, [dir, String(step), `seed-${step}`])
    const killed = messages.at(-1)?.killed ?? 'nothing'
    t.equal(signal, 'SIGKILL', `killed before ${killed} ${err}`)
    steps.add(killed)
    kills += 1
    ledger.read(messages)
    await ledger.check(t, dir, `${dir.slice(root.length)}, step ${step}, ${killed}`)
  }
  // Each on a new folder: the first start and the first upload.
  const onNewFolders = async (): Promise<void> => {
    for (let step = 1; step <= 34; step++) await kill(join(root, `data-${step}`), step, new Ledger())
  }
  // All on one folder: later uploads, which replace, remove and collect.
  const onOneFolder = async (): Promise<void> => {
    const ledger = new Ledger()
    for (let step = 1; step <= 101; step += 4) await kill(join(root, 'data'), step, ledger)
  }
  await Promise.all([onNewFolders(), onOneFolder()])
  t.ok(kills >= 50, `${kills} kills`)
  const changing = ['close', 'create', 'lock', 'mkdir', 'remove', 'rename', 'sync', 'syncFolder', 'write']
  for (const step of [...changing, 'write, halfway']) t.ok(steps.has(step), `"${step}" was a last step`)
})

t.test('killed from outside at random moments', async (t) => {
  const root = t.testdir()
  const script = await compileVictim(join(root, 'victim'))
  const random = new Random(21)
  const ledger = new Ledger()
  const dir = join(root, 'data')
  for (let run = 0; run < 8; run++) {
    const lines = 1 + random.below(40)
    const { messages, signal } = await runVictim(script, [dir, 'never', `run-${run}`], lines)
    t.equal(signal, 'SIGKILL')
    ledger.read(messages)
    await ledger.check(t, dir, `run ${run}, after ${lines} lines`)
  }
})
