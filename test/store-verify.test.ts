/** `store verify`: a healthy folder, every kind of damage, and a folder in use. */
import { randomUUID } from 'node:crypto'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command, type CommanderError } from 'commander'
import t, { type Test } from 'tap'
import { storeCommand } from '../src/commands/store.js'
import { LocalStore } from '../src/store/local.js'
import { ManualClock } from './manual-clock.js'
import { Random } from './random.js'
import { recordOf, versionOf, versionRecord } from './store-history.js'

const random = new Random(9)
const [first, second, orphan] = [random.bytes(64), random.bytes(65), random.bytes(66)]

async function furnished(dir: string): Promise<LocalStore> {
  const store = new LocalStore({ dir, clock: new ManualClock() })
  await store.open()
  for (const bytes of [first, second]) await store.putBlob(versionOf(bytes), bytes)
  await store.writeRecord(recordOf('one', [versionRecord(first)]), null)
  await store.writeRecord(recordOf('two', [versionRecord(first), versionRecord(second)]), null)
  return store
}

/** Runs the command as `facet` does. */
async function verify(dir: string): Promise<{ out: string; err: string; exitCode: number }> {
  const result = { out: '', err: '', exitCode: 0 }
  const program = new Command('facet').addCommand(storeCommand())
  const configure = (command: Command): void => {
    command.exitOverride().configureOutput({
      writeOut: (text) => {
        result.out += text
      },
      writeErr: (text) => {
        result.err += text
      },
    })
    command.commands.forEach(configure)
  }
  configure(program)
  try {
    await program.parseAsync(['store', 'verify', '--data', dir], { from: 'user' })
  } catch (error) {
    result.exitCode = (error as CommanderError).exitCode
  }
  return result
}

async function damaged(t: Test, damage: (dir: string) => Promise<void>) {
  const dir = t.testdir()
  await (await furnished(dir)).close()
  await damage(dir)
  return verify(dir)
}

function blobPath(dir: string, bytes: Uint8Array): string {
  const version = versionOf(bytes)
  return join(dir, 'blobs', version.slice(0, 2), `${version}.safetensors`)
}

t.test('a healthy folder is intact, and left as it was', async (t) => {
  const dir = t.testdir()
  await (await furnished(dir)).close()
  const result = await verify(dir)
  t.match(result, { exitCode: 0, err: '' })
  t.match(result.out, new RegExp(`^checked ${dir}: the checksum of every record`))
  t.match(result.out, /facet-store\/1: 2 domains, 3 versions, 2 blobs, 129 bytes\neverything is intact\n/)
  t.strictSame((await readdir(dir)).sort(), ['FORMAT', 'blobs', 'domains', 'lock', 'tmp'])
})

t.test('all damage is listed at once', async (t) => {
  const result = await damaged(t, async (dir) => {
    await writeFile(blobPath(dir, first), 'rubbish')
    await rm(blobPath(dir, second))
    await writeFile(join(dir, 'domains', 'three.json'), '{')
    await writeFile(join(dir, 'domains', 'README'), '')
    await writeFile(join(dir, 'tmp', 'letter'), '')
  })
  t.equal(result.exitCode, 1)
  t.match(result.out, /problem: .*domain one, version .* has 7 bytes instead of 64/)
  t.match(result.out, /problem: .*domain two, version .* is missing/)
  t.match(result.out, /problem: The record of domain three is ignored/)
  t.match(result.out, /problem: Blob .* \(used by one, two\) is corrupt/)
  t.match(result.out, /problem: domains\/README is not a record/)
  t.match(result.out, /problem: tmp\/letter is not a temporary file/)
  t.match(result.err, /error: 7 problems found/)
})

t.test('corruption that keeps the size is found', async (t) => {
  const result = await damaged(t, (dir) => writeFile(blobPath(dir, second), random.bytes(65)))
  t.equal(result.exitCode, 1)
  t.match(result.err, /1 problem found/)
})

t.test('leftovers of interrupted writes are notes', async (t) => {
  const left = randomUUID()
  const result = await damaged(t, (dir) => writeFile(join(dir, 'tmp', left), 'x'))
  t.equal(result.exitCode, 0)
  t.match(result.out, new RegExp(`note: tmp/${left}`))
})

t.test('blobs of no domain are notes', async (t) => {
  const dir = t.testdir()
  const store = await furnished(dir)
  await store.putBlob(versionOf(orphan), orphan)
  await store.close()
  const result = await verify(dir)
  t.equal(result.exitCode, 0)
  t.match(result.out, new RegExp(`note: Blob ${versionOf(orphan)} is named by no record`))
})

t.test('a folder in use, and one that is no store, are refused', async (t) => {
  const dir = t.testdir()
  const store = await furnished(dir)
  t.match(await verify(dir), { exitCode: 1, out: '', err: new RegExp(`in use by process ${process.pid}`) })
  await store.close()
  t.match(await verify(t.testdir({ sub: {} })), {
    exitCode: 1,
    err: /is not a store.*Name the data folder of a service/,
  })
  t.match(await verify(join(dir, 'none')), {
    exitCode: 1,
    err: /The data folder \(--data\) \S+none cannot be used: there is no such file or folder.*Name the data folder/,
  })
})
