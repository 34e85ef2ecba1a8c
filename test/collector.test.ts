/** V8's young generation under load: it grows to its bound and no further. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { growth } from '../src/serve/collector.js'
import { compileProgram } from './service-process.js'

const MIB = 2 ** 20

t.test('it ends at 8 MiB, where V8 by itself takes 32', async (t) => {
  const dir = t.testdir()
  await compileProgram(dir, ['src', 'test/collector-process.ts'])
  const { stdout } = await promisify(execFile)(process.execPath, [join(dir, 'test', 'collector-process.js')])
  t.equal(stdout, '8\n')
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
