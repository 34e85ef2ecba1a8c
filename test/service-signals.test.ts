/** The real process under signals: while it starts, while a part of it hangs, and as process 1 of a container. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import {
  compileProgram,
  ONE_FAMILY,
  open,
  Program,
  type ProgramOptions,
  refusing,
} from './service-process.js'
import { pngImage } from './service-rig.js'

const dir = t.testdir()
const cli = await compileProgram(dir)
const flags = [...ONE_FAMILY, '--port', '0', '--lanes', '2', '--bank-memory', '64MiB', '--max-batch', '8']
// Progressive, so that libvips decodes it on either runtime: its decoding can be made to hang.
const jpeg = await sharp(await pngImage(1))
  .jpeg({ progressive: true })
  .toBuffer()

/** A part of the program that is to hang; see hang.mjs. */
function hanging(part: string): string {
  return new URL(`./hang.mjs?${part}`, import.meta.url).href
}

let folders = 0
function serve(own: string[], options: ProgramOptions = {}): Program {
  const program = new Program(
    cli,
    ['serve', ...flags, '--data', join(dir, `data-${folders++}`), ...own],
    options,
  )
  t.teardown(() => program.kill('SIGKILL'))
  return program
}

function predicting(url: string) {
  return open(url, 'POST', '/v1/domains/base/predict', 'image/jpeg', jpeg.length)
}

t.test('a signal in the first moments ends the start', async (t) => {
  const program = serve([], { preload: hanging('signal') })
  t.match(await program.exit, {
    code: null,
    signal: 'SIGTERM',
    out: '',
    err: /^facet: SIGTERM while starting/,
  })
})

t.test('a signal during the first run of the engine ends the start', async (t) => {
  const program = serve([], { preload: hanging('first-run') })
  await program.logged('hangs')
  program.kill('SIGINT')
  const { code, signal, out } = await program.exit
  t.match({ code, signal }, { code: null, signal: 'SIGINT' })
  t.notMatch(out, 'listening')
})

t.test('SIGHUP, as when a terminal is closed, stops in order', async (t) => {
  const program = serve([])
  const sent = predicting(await program.url())
  await sent.admitted
  program.kill('SIGHUP')
  t.match(await program.logged('stopping'), { signal: 'SIGHUP' })
  sent.end(jpeg)
  t.match(await sent.answer, { status: 200 })
  t.match(await program.exit, { code: null, signal: 'SIGHUP', err: '' })
  await program.logged('stopped')
})

/** Runs a command in a terminal, shows what it prints, closes the terminal at a line of input, and tells the signal. */
const terminal = `
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0: os.execve(sys.argv[1], sys.argv[1:], {})
while 0 not in select.select([0, terminal], [], [])[0]: os.write(1, os.read(terminal, 4096))
os.close(terminal)
os.write(1, b'ended by %d' % os.WTERMSIG(os.waitpid(pid, 0)[1]))
`
const noPython = spawnSync('python3', ['--version']).status === 0 ? false : 'there is no python3'

t.test('so it does when its terminal is gone, which takes no lines', { skip: noPython }, async (t) => {
  const args = [process.execPath, cli, 'serve', ...flags, '--data', join(dir, `data-${folders++}`)]
  const child = spawn('python3', ['-c', terminal, ...args], { env: { PATH: process.env.PATH } })
  t.teardown(() => child.kill('SIGKILL'))
  const closed = once(child, 'close')
  let shown = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text
  })
  let url: string | undefined
  while (url === undefined) {
    await Promise.race([once(child.stdout, 'data'), closed])
    url = /http:[/][/]127.0.0.1:[0-9]+(?=[/"])/.exec(shown)?.[0]
  }
  const sent = predicting(url)
  await sent.admitted
  child.stdin.write('close it')
  await refusing(url)
  sent.end(jpeg)
  t.match(await sent.answer, { status: 200 })
  await closed
  t.match(shown, /ended by 1$/, 'SIGHUP')
})

t.test('SIGUSR1 opens no debugger', async (t) => {
  const program = serve([])
  const url = await program.url()
  program.kill('SIGUSR1')
  const sent = predicting(url)
  sent.end(jpeg)
  t.match(await sent.answer, { status: 200 })
  program.kill('SIGTERM')
  t.match(await program.exit, { code: 0, signal: null, err: '' })
})

t.test('a lane that hangs keeps neither requests nor the process beyond the grace period', async (t) => {
  const program = serve(['--grace-period', '100ms'], { preload: hanging('run') })
  const url = await program.url()
  program.kill('SIGUSR2')
  await program.logged('will hang')
  const sent = predicting(url)
  sent.end(jpeg)
  await program.logged('hangs')
  program.kill('SIGTERM')
  t.match(await sent.answer, { status: 503, body: /"code":"draining"/ })
  const { code, signal } = await program.exit
  t.match({ code, signal }, { code: null, signal: 'SIGKILL' }, 'a shell shows 137')
  t.match(await program.logged('not ended in time: killed'), { level: 60, stopped: false })
})

t.test(
  'nor does a decode that hangs: its request is answered, and so are those that wait for it',
  async (t) => {
    const own = ['--grace-period', '100ms', '--decode-threads', '1']
    const program = serve(own, { preload: hanging('decode') })
    const url = await program.url()
    program.kill('SIGUSR2')
    await program.logged('will hang')
    const first = predicting(url)
    first.end(jpeg)
    await program.logged('hangs')
    const second = predicting(url)
    second.end(jpeg)
    await second.admitted
    program.kill('SIGTERM')
    for (const { answer } of [first, second])
      t.match(await answer, { status: 503, body: /"code":"draining"/ })
    t.match(await program.exit, { signal: 'SIGKILL' })
    t.match(await program.logged('not ended in time: killed'), { stopped: true }, 'all else was in order')
  },
)

const namespaces = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0
const skip = namespaces ? false : 'this user cannot make a PID namespace (unshare --pid)'

t.test('as process 1', { skip }, async (t) => {
  const asInit = { asInit: true }

  t.test('an orderly stop ends with 0', async (t) => {
    const program = serve([], asInit)
    await program.url()
    program.kill('SIGTERM')
    t.match(await program.exit, { code: 0, signal: null, err: '' })
    await program.logged('stopped')
  })

  t.test('a signal during the first run of the engine ends the start', async (t) => {
    const program = serve([], { ...asInit, preload: hanging('first-run') })
    await program.logged('hangs')
    program.kill('SIGTERM')
    t.match(await program.exit, { code: 143, signal: null })
  })

  t.test('so does one while the main thread hangs', async (t) => {
    const program = serve([], { ...asInit, preload: hanging('start') })
    await program.logged('hangs')
    program.kill('SIGTERM')
    t.match(await program.exit, {
      code: 137,
      signal: null,
      err: /not ended 800 ms after the first signal: killed/,
    })
  })

  t.test('a second signal ends it', async (t) => {
    const program = serve(['--grace-period', '10m'], asInit)
    const url = await program.url()
    const sent = predicting(url)
    await sent.admitted
    program.kill('SIGTERM')
    await program.logged('stopping')
    const again = setInterval(() => program.kill('SIGINT'), 20)
    await t.rejects(sent.answer)
    t.match(await program.exit, { code: 130, signal: null })
    clearInterval(again)
  })

  t.test('a lane that hangs does not keep it', async (t) => {
    const program = serve(['--grace-period', '100ms'], { ...asInit, preload: hanging('first-run') })
    await program.logged('hangs')
    program.kill('SIGTERM')
    t.match(await program.exit, { code: 143 })
  })

  t.test('a start that fails ends with its code', async (t) => {
    const { code, err } = await serve(['--family', join(dir, 'none')], asInit).exit
    t.equal(code, 1)
    t.match(err, /^facet: The family/)
  })
})
