/** One process per data folder, and a dead process holds no lock. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LocalStore } from '../src/store/local.js'
import { lockFolder } from '../src/store/lock.js'
import { ManualClock } from './manual-clock.js'

/** Holds the lock as another process does: a socket that says who it is, linked to a number. */
const HOLDER = `
  const { createServer } = require('node:net'); const { linkSync, unlinkSync } = require('node:fs')
  const answer = process.argv[1]
  createServer((connection) => { if (answer) connection.end(answer) }).listen('new', () => {
    linkSync('new', '1'); unlinkSync('new'); process.stdout.write('held')
  })`

async function hold(t: Test, folder: string, answer: string): Promise<ChildProcess> {
  await mkdir(folder, { recursive: true })
  const child = spawn(process.execPath, ['-e', HOLDER, answer], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout!, 'data')
  return child
}

t.test('a second store on the folder is told who has it', async (t) => {
  const dir = t.testdir()
  const first = new LocalStore({ dir, clock: new ManualClock() })
  const second = new LocalStore({ dir, clock: new ManualClock() })
  await first.open()
  await t.rejects(second.open(), {
    code: 'store_failed',
    message: new RegExp(`in use by process ${process.pid} on host .*--data`),
  })
  await first.close()
  const third = new LocalStore({ dir, clock: new ManualClock() })
  await third.open()
  await third.close()
})

t.test('another living process keeps the lock, a killed one loses it at once', async (t) => {
  const folder = join(t.testdir(), 'lock')
  const child = await hold(t, folder, 'process 1 on host other')
  await t.rejects(lockFolder(folder), { name: 'LockedError', holder: 'process 1 on host other' })
  child.kill('SIGKILL')
  await once(child, 'exit')
  const unlock = await lockFolder(folder)
  t.strictSame(await readdir(folder), ['2'], 'the dead socket is tidied away')
  await unlock()
})

t.test('a holder that is stopped still holds', async (t) => {
  const folder = join(t.testdir(), 'lock')
  await hold(t, folder, '')
  await t.rejects(lockFolder(folder), { name: 'LockedError', holder: /does not answer/ })
})

t.test('of many that start at once exactly one gets the lock, dead sockets or none', async (t) => {
  const folder = join(t.testdir(), 'lock')
  for (let round = 0; round < 10; round++) {
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)))
    const held = results.filter((result) => result.status === 'fulfilled')
    t.equal(held.length, 1)
    for (const { value: unlock } of held) await unlock()
  }
})

t.test('a released lock leaves its number behind, which keeps the next one exclusive', async (t) => {
  const folder = join(t.testdir(), 'lock')
  for (let round = 0; round < 3; round++) await (await lockFolder(folder))()
  t.strictSame(await readdir(folder), ['3'])
  const unlock = await lockFolder(folder)
  await t.rejects(lockFolder(folder), { name: 'LockedError' })
  await unlock()
})

t.test('copied or foreign files in the lock folder hold nothing', async (t) => {
  const folder = join(t.testdir(), 'lock')
  await mkdir(folder)
  await writeFile(join(folder, '7'), 'a copied socket')
  const unlock = await lockFolder(folder)
  await t.rejects(lockFolder(folder), { name: 'LockedError' })
  await unlock()
})

t.test('a folder whose path is too long for a socket is locked too', async (t) => {
  const folder = join(t.testdir(), 'deep'.repeat(30), 'lock')
  await mkdir(folder, { recursive: true })
  const unlock = await lockFolder(folder)
  await t.rejects(lockFolder(folder), { name: 'LockedError', holder: new RegExp(`process ${process.pid} `) })
  await unlock()
})
