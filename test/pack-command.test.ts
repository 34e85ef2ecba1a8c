/** `facet pack show` and `facet pack verify` at the terminal. */
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { packCommand } from '../src/commands/pack.js'
import type { Pack } from '../src/pack/pack.js'
import { writePack } from '../src/pack/write.js'
import { tinyFamily, tinyPack } from './families.js'

const family = tinyFamily()

/** Runs the command in this process. Returns what it prints, and its exit code. */
async function run(t: Test, ...words: string[]): Promise<{ out: string; error: string; code: number }> {
  const printed = t.capture(process.stdout, 'write', () => true)
  const command = packCommand()
  const errors: string[] = []
  for (const part of [command, ...command.commands]) {
    part.exitOverride()
    part.configureOutput({ writeErr: (text) => errors.push(text) })
  }
  let code = 0
  try {
    await command.parseAsync(words, { from: 'user' })
  } catch (error) {
    code = (error as { exitCode?: number }).exitCode ?? -1
    if (code === -1) throw error
  }
  const out = printed().map((call) => String(call.args[0]))
  printed.restore()
  return { out: out.join(''), error: errors.join(''), code }
}

async function folder(t: Test, change: Partial<Pack> = {}): Promise<{ dir: string; file: string }> {
  const dir = t.testdir({})
  const files: Record<string, Uint8Array> = {
    'trunk.onnx': new Uint8Array(3),
    'trunk.f16.onnx': new Uint8Array(3),
    'trunk.one.onnx': new Uint8Array(3),
    'trunk.one.f16.onnx': new Uint8Array(3),
    'base.safetensors': writePack(tinyPack(family), family, { dtype: 'f32' }),
  }
  const manifest = structuredClone(family)
  for (const [name, bytes] of Object.entries(files)) {
    manifest.files[name] = { sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length }
    await writeFile(path.join(dir, name), bytes)
  }
  await writeFile(path.join(dir, 'family.json'), JSON.stringify(manifest))
  const file = path.join(dir, 'pets.safetensors')
  await writeFile(file, writePack({ ...tinyPack(family), ...change }, family, { dtype: 'f16' }))
  return { dir, file }
}

t.test('show describes a pack, with its family the slots too', async (t) => {
  const { dir, file } = await folder(t, { name: 'Pets\u001b[31m\u202e', metrics: { top1: 0.91 } })
  const alone = await run(t, 'show', file)
  t.equal(alone.code, 0)
  for (const line of [
    /^name +Pets\ufffd\[31m\ufffd$/m,
    /^version +[0-9a-f]{64}$/m,
    /^design +parallel$/m,
    /^labels +3: cat, dog, owl$/m,
    /^metrics +\{"top1":0.91\}$/m,
  ]) {
    t.match(alone.out, line)
  }
  t.notMatch(alone.out, /^adapts/m)
  t.match((await run(t, 'show', file, '--family', dir)).out, /^adapts +3 of 3 slots, 2 with a matrix$/m)
})

t.test('verify says that a pack is valid, or lists everything that is wrong', async (t) => {
  const { dir, file } = await folder(t)
  const sound = await run(t, 'verify', file, '--family', dir)
  t.match(sound, { code: 0, out: /a valid pack of family tiny, 3 of 3 slots, 2 with a matrix/ })

  const other = { ...family, name: 'other', fingerprint: 'f'.repeat(64) }
  const pack = { ...tinyPack(family), family: other.fingerprint }
  const foreign = Buffer.concat([writePack(pack, other, { dtype: 'f32' }), Buffer.alloc(2)])
  await writeFile(file, foreign)
  const broken = await run(t, 'verify', file, '--family', dir)
  t.equal(broken.code, 1)
  t.match(
    broken.error,
    /pets.safetensors is not a valid pack:\n {2}- family is "f+".*another family, .*\n {2}- 2 trailing bytes/,
  )
  t.equal(broken.out, '')
})

t.test('a missing file and a broken family end with their cause', async (t) => {
  const { dir, file } = await folder(t)
  t.match(await run(t, 'show', path.join(dir, 'none')), {
    code: 1,
    error: /^error: The pack \S+none cannot be used: there is no such file.*Name a pack/,
  })
  t.match(await run(t, 'verify', file, '--family', `${t.testdirName}-none`), {
    code: 1,
    error: /^error: The family \(--family\) \S+ cannot be used: there is no such .*facet family build/,
  })
  t.match(await run(t, 'verify', file), { code: 1, error: /required option '--family <dir>'/ })
})

t.test('a file that is not a pack is named, with what to do', async (t) => {
  const dir = t.testdir({
    'net.onnx': Buffer.from([8, 8, 0x12, 7, 112]),
    'net.pt': Buffer.from('PK\u0003\u0004'),
    'empty.safetensors': '',
    'lfs.safetensors': 'version https://git-lfs.github.com/spec/v1',
    'noise.safetensors': Buffer.alloc(40, 0xee),
  })
  const show = async (name: string) => {
    const { code, error } = await run(t, 'show', path.join(dir, name))
    t.equal(code, 1)
    return error
  }
  t.match(await show('net.onnx'), /net\.onnx is not a pack: it looks like an ONNX model.*facet family build/)
  t.match(await show('net.pt'), /PyTorch checkpoint/)
  t.match(await show('empty.safetensors'), /an empty file/)
  t.match(await show('lfs.safetensors'), /git lfs pull/)
  t.match(await show('noise.safetensors'), /is not a valid pack:\n {2}- /)
  t.match(await show('.'), /The pack \S+ cannot be used: it is a folder, and a file is needed/)
})
