/** What may go on after its deadline is decoded in a process that can be killed, and is killed. */
import { once } from 'node:events'
import sharp from 'sharp'
import t from 'tap'
import { FrameReader, frame } from '../src/image/apart/frames.js'
import type { Child, LauncherClientOptions } from '../src/image/apart/launcher-client.js'
import type { Answer } from '../src/image/apart/messages.js'
import { DecodeProcesses, type DecodeProcessesOptions } from '../src/image/apart/processes.js'
import { decodeImage, openImage } from '../src/image/decode.js'
import { createLauncher } from './decoder.js'
import { fixture, input, refusal } from './images.js'
import { ManualClock, settle } from './manual-clock.js'

const limits = { maxPixels: 50_000_000 }
const avif = fixture('colour.avif')

/** Processes, stopped when the test ends, and those that they started. @param command what is started; the decoder unless told */
function processesOf(
  t: { teardown(end: () => Promise<void>): void },
  { command, ...more }: Partial<DecodeProcessesOptions> & Pick<LauncherClientOptions, 'command'> = {},
) {
  const clock = new ManualClock()
  const children: (Child & { killed: boolean })[] = []
  const ends: string[] = []
  const launcher = createLauncher({
    clock,
    ended: (reason) => ends.push(`launcher ${reason}`),
    ...(command && { command }),
  })
  const options: DecodeProcessesOptions = {
    clock,
    ended: (reason) => ends.push(reason),
    launcher: {
      start: () => {
        const { stream, end, kill } = launcher.start()
        const child = {
          stream,
          end,
          killed: false,
          kill() {
            child.killed = true
            kill()
          },
        }
        children.push(child)
        return child
      },
      stop: () => launcher.stop(),
    },
    ...more,
  }
  const processes = new DecodeProcesses(options)
  t.teardown(() => processes.stop())
  return { processes, options, clock, children, ends }
}

/** A command that runs this instead of the decoder; `stream` is the service's. */
function running(code: string): string[] {
  const stream = "const stream = new (require('node:net').Socket)({ fd: 0, readable: true, writable: true })"
  return [process.execPath, '-e', `${stream}; ${code}`]
}

t.test(
  'an image is decoded to the same pixels in a process, and the next one in the same process',
  async (t) => {
    const { processes, children } = processesOf(t)
    const wanted = await decodeImage(avif, input, limits)
    t.same(await processes.decode(avif, input), wanted)
    t.same(
      await processes.decode(fixture('colour.webp'), input),
      await decodeImage(fixture('colour.webp'), input, limits),
    )
    t.equal(children.length, 1)
    const both = await Promise.all([processes.decode(avif, input), processes.decode(avif, input)])
    t.same(both, [wanted, wanted])
    t.equal(children.length, 2, 'two at once need two')
  },
)

t.test('a refusal is that of the decoder, and the process goes on', async (t) => {
  const { processes, children, ends } = processesOf(t)
  const cut = await refusal(processes.decode(avif.subarray(0, -200), input))
  t.match(cut, { code: 'undecodable_image', status: 422, message: /AVIF image cannot be decoded/ })
  t.ok(await processes.decode(avif, input))
  t.same([children.length, ends], [1, []])
})

t.test('an image that takes more CPU time than it may ends with its process', async (t) => {
  const large = await sharp({ create: { width: 4000, height: 3000, channels: 3, background: 'navy' } })
    .avif({ effort: 0 })
    .toBuffer()
  const { processes, options, children, ends } = processesOf(t, { cpuMs: 1 })
  const error = await refusal(processes.decode(large, input))
  options.cpuMs = 10_000
  t.ok(await processes.decode(avif, input), 'the next image, at once, is not in that process')
  t.match(error, { code: 'image_too_large', status: 413, message: /more than 0.001 s of CPU time/ })
  t.match(await children[0]!.end, { reason: 'SIGKILL' })
  t.same([children.length, ends], [2, []], 'nobody is told of an end that was announced')
})

const pixels = Buffer.alloc(input.height * input.width * 3, 7)

/** A command that gives this instead of answers: of these, the one whose number is the job's `cpuMs`. */
function answering(...said: readonly (readonly Uint8Array[])[]): string[] {
  const hex = JSON.stringify(said.map((parts) => Buffer.concat(parts).toString('hex')))
  const job = 'JSON.parse(chunk.subarray(8, 8 + chunk.readUInt32BE(0)))'
  return running(`stream.once('data', (chunk) => stream.write(Buffer.from(${hex}[${job}.cpuMs], 'hex')))`)
}

/** It is killed. Its stream is closed as well, and it may see that first. */
const ended = { reason: /^(SIGKILL|exit 0)$/ }

t.test('what a process says that was taken over is not believed', async (t) => {
  const lengths = (head: number, body: number) => {
    const prefix = Buffer.alloc(8)
    prefix.writeUInt32BE(head, 0)
    prefix.writeUInt32BE(body, 4)
    return prefix
  }
  const none = new Uint8Array()
  const cases: [string, readonly Uint8Array[], RegExp][] = [
    ['no JSON', [lengths(3, 0), Buffer.from('{{{')], /JSON/],
    ['4 GiB of pixels', [lengths(11, 2 ** 32 - 1)], /4294967295 bytes of pixels, not \d+/],
    ['a head of 4 GiB', [lengths(2 ** 32 - 1, 0)], /head of 4294967295 bytes/],
    ['too few pixels', frame({ ok: true }, pixels.subarray(1)), /bytes of pixels/],
    ['no pixels', frame({ ok: true }, none), /0 bytes of pixels/],
    [
      'a refusal with pixels',
      frame({ ok: false, code: 'undecodable_image', message: '' }, pixels),
      /bytes of pixels/,
    ],
    ['null', [lengths(4, 0), Buffer.from('null')], /another form/],
    ['an unknown code', frame({ ok: false, code: 'toString', message: '' }, none), /another form/],
    ['no message', frame({ ok: false, code: 'internal' }, none), /another form/],
  ]
  const command = answering(...cases.map(([, said]) => said))
  const { processes, options, children, ends } = processesOf(t, { command })
  for (const [index, [name]] of cases.entries()) {
    options.cpuMs = index
    const error = await refusal(processes.decode(avif, input))
    t.match(error, { code: 'decoder_unavailable', status: 503, message: /gave no sound answer/ }, name)
    t.match(await children[index]!.end, ended)
  }
  await settle()
  t.match(
    ends,
    cases.map(([, , why]) => why),
    'the log says why',
  )
})

t.test('a process that says more than its answer is not used again', async (t) => {
  const twice = [...frame({ ok: true }, pixels), ...frame({ ok: true }, pixels)]
  const { processes, children, ends } = processesOf(t, { command: answering(twice), cpuMs: 0 })
  t.same(await processes.decode(avif, input), pixels)
  t.match(await children[0]!.end, ended)
  await settle()
  t.match(ends, [/an answer without a job/])
})

t.test('an error that was not foreseen is told with its cause, and the process goes on', async (t) => {
  const launcher = createLauncher({ clock: new ManualClock() })
  t.teardown(() => launcher.stop())
  const child = launcher.start()
  const stream = await child.stream
  let told = (_: Answer) => {}
  const reader = new FrameReader<Answer>((answer) => told(answer))
  stream.on('data', (chunk: Uint8Array) => reader.take(chunk))
  const ask = (job: object) => {
    const answer = new Promise<Answer>((resolve) => {
      told = resolve
    })
    for (const part of frame(job, fixture('colour.jpg'))) stream.write(part)
    return Promise.race([answer, child.end])
  }
  t.match(await ask({ cpuMs: 10_000, input: null }), {
    ok: false,
    code: 'internal',
    cause: /TypeError: .*\n +at /,
  })
  t.same(await ask({ cpuMs: 10_000, input }), { ok: true })
  const head = { ok: false, code: 'internal', message: 'No.', cause: 'TypeError: of the decoder' }
  const { processes } = processesOf(t, {
    command: answering(frame(head, new Uint8Array())),
    cpuMs: 0,
  })
  const error = await refusal(processes.decode(avif, input))
  t.match(error, {
    code: 'internal',
    status: 500,
    message: 'No.',
    cause: { message: 'TypeError: of the decoder' },
  })
})

t.test('an image that is not decoded a second after its deadline ends with its process', async (t) => {
  const { processes, clock, children, ends } = processesOf(t, {
    command: running('setInterval(() => {}, 1e6)'),
  })
  const first = refusal(processes.decode(avif, input, { timeoutMs: 3000 }))
  clock.advance(3999)
  await settle()
  t.equal(children[0]!.killed, false)
  clock.advance(1)
  t.match(await first, { code: 'deadline_exceeded', status: 504 })
  t.match(await children[0]!.end, { reason: 'SIGKILL' })
  const second = refusal(processes.decode(avif, input))
  t.equal(children.length, 2, 'the next image has a process of its own')
  clock.advance(11_000)
  t.match(await second, { code: 'deadline_exceeded' }, 'without a deadline after ten seconds')
  t.same(ends, [], 'nobody is told of ends that were wanted')
})

t.test('a decoder that crashes refuses its image; one that somebody kills does not', async (t) => {
  const dying = (signal: string) =>
    running(`stream.once('data', () => process.kill(process.pid, '${signal}'))`)
  const crash = processesOf(t, { command: dying('SIGSEGV') })
  const crashed = await refusal(crash.processes.decode(avif, input))
  t.match(crashed, { code: 'undecodable_image', message: /made its decoder crash \(SIGSEGV\)/ })
  const killed = processesOf(t, { command: dying('SIGKILL') })
  const lost = await refusal(killed.processes.decode(avif, input))
  t.match(lost, { code: 'decoder_unavailable', status: 503, retryAfter: 1, message: /ended \(SIGKILL\)/ })
  await settle()
  t.same([crash.ends, killed.ends], [['SIGSEGV'], ['SIGKILL']])
  t.same([crash.processes.size, killed.processes.size], [0, 0])
})

t.test('a process that cannot be started, or ends at once, is 503', async (t) => {
  const none = processesOf(t, { command: ['/nowhere/node'] })
  t.match(await refusal(none.processes.decode(avif, input)), {
    code: 'decoder_unavailable',
    message: /cannot start \(.*ENOENT/,
  })
  const ends = processesOf(t, { command: running('process.exit(3)') })
  t.match(await refusal(ends.processes.decode(avif, input)), {
    code: 'decoder_unavailable',
    message: /ended \(exit 3\)/,
  })
})

t.test('a process that ended while it had nothing to do is not used again', async (t) => {
  const { processes, children } = processesOf(t)
  await processes.decode(avif, input)
  children[0]!.kill()
  await children[0]!.end
  t.ok(await processes.decode(avif, input))
  t.equal(children.length, 2)
})

t.test('processes without work are ended after half a minute', async (t) => {
  const { processes, clock, children, ends } = processesOf(t)
  await Promise.all([processes.decode(avif, input), processes.decode(avif, input)])
  clock.advance(29_999)
  t.equal(processes.size, 2)
  clock.advance(1)
  t.equal(processes.size, 0)
  for (const { end } of children) t.match(await end, { reason: 'SIGKILL' })
  t.ok(await processes.decode(avif, input))
  t.same([children.length, ends], [3, []])
})

t.test('at the end all processes are ended, and their images answered', async (t) => {
  const { processes, children, ends } = processesOf(t, { command: running('setInterval(() => {}, 1e6)') })
  const waiting = refusal(processes.decode(avif, input))
  await children[0]!.stream
  await processes.stop()
  t.match(await waiting, { code: 'draining', status: 503 })
  t.ok(await children[0]!.end)
  t.match(await refusal(processes.decode(avif, input)), { code: 'draining' })
  t.same(ends, [])
})

t.test('while there is no launcher images are refused, and it is started again', async (t) => {
  const killing = running("stream.once('data', () => process.kill(process.ppid, 'SIGKILL'))")
  const { processes, clock, ends } = processesOf(t, { command: killing })
  const lost = {
    code: 'decoder_unavailable',
    status: 503,
    message: /ended \(with the process that started it\)/,
  }
  t.match(await refusal(processes.decode(avif, input)), lost)
  await settle()
  t.same(ends, ['launcher SIGKILL', 'with the process that started it'])
  clock.advance(9_999)
  const refused = await refusal(processes.decode(avif, input))
  t.match(refused, { code: 'decoder_unavailable', message: /cannot start \(.* started again/ })
  clock.advance(1)
  t.match(
    await refusal(processes.decode(avif, input)),
    lost,
    'there is one ten seconds after the start of the last',
  )
  clock.advance(10_000)
  clock.advance(10_000)
  t.match(await refusal(processes.decode(avif, input)), lost)
  clock.advance(0)
  t.match(await refusal(processes.decode(avif, input)), lost, 'at once where the last one ran for so long')
  t.equal(ends.filter((end) => end === 'launcher SIGKILL').length, 4)
})

t.test('an image whose client has left starts no process', async (t) => {
  const { processes, children } = processesOf(t)
  const error = await refusal(processes.decode(avif, input, { signal: AbortSignal.abort() }))
  t.match(error, { code: 'client_closed' })
  t.equal(children.length, 0)
})

t.test('the process ends at once with the service that started it', async (t) => {
  const { processes, children } = processesOf(t)
  await processes.decode(avif, input)
  const stream = await children[0]!.stream
  stream.end()
  t.match(await children[0]!.end, { reason: 'SIGKILL' }, 'it does not wait for a codec')
})

t.test('a process has not ended before all that it wrote is read', async (t) => {
  const launcher = createLauncher({
    clock: new ManualClock(),
    command: running(
      "stream.write(String(process.pid).padEnd(10) + 'answer', () => process.kill(process.pid, 'SIGKILL'))",
    ),
  })
  t.teardown(() => launcher.stop())
  const child = launcher.start()
  let ended = false
  void child.end.then(() => {
    ended = true
  })
  const stream = await child.stream
  await once(stream, 'readable')
  const pid = Number(stream.read(10))
  while (isThere(pid)) await settle()
  // Reports come in order: when the second one's has come, so has that of the first one.
  const second = launcher.start()
  void second.stream.then((stream) => stream.resume())
  await second.end
  t.equal(ended, false)
  t.equal(String(stream.read()), 'answer')
  t.match(await child.end, { reason: 'SIGKILL' })
})

/** Whether a process is there, or has ended and its parent does not know yet. */
function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

t.test('the process is given no token', async (t) => {
  const given = { FACET_ADMIN_TOKEN: 'secret', MALLOC_MMAP_THRESHOLD_: '1048576' }
  Object.assign(process.env, given)
  t.teardown(() => {
    for (const name of Object.keys(given)) delete process.env[name]
  })
  const launcher = createLauncher({
    clock: new ManualClock(),
    command: running('stream.write(JSON.stringify(process.env))'),
  })
  t.teardown(() => launcher.stop())
  const [text] = await once(await launcher.start().stream, 'data')
  const { FACET_ADMIN_TOKEN, PATH, MALLOC_MMAP_THRESHOLD_ } = JSON.parse(String(text))
  t.same([FACET_ADMIN_TOKEN, PATH], [undefined, undefined])
  t.equal(MALLOC_MMAP_THRESHOLD_, '1048576', 'the allocator is the same')
})

t.test('decoded apart are AVIF and what a codec decodes in one step for long', async (t) => {
  const apart: string[] = []
  const place = async (name: string, bytes: Uint8Array) => {
    const opened = await openImage(bytes, input, limits, {
      apart: async () => {
        apart.push(name)
        return new Uint8Array()
      },
    })
    await opened.decode()
  }
  const large = sharp({
    create: { width: 5000, height: 5000, channels: 3, background: 'navy' },
    limitInputPixels: false,
  })
  for (const type of ['jpg', 'png', 'webp', 'gif', 'avif', 'tiff'])
    await place(type, fixture(`colour.${type}`))
  await place('small progressive', fixture('colour-progressive.jpg'))
  await place('large', await large.clone().jpeg().toBuffer())
  await place(
    'large progressive',
    await large.clone().jpeg({ progressive: true, chromaSubsampling: '4:4:4' }).toBuffer(),
  )
  await place('large WebP', await large.clone().webp({ effort: 0 }).toBuffer())
  t.same(apart, ['avif', 'large progressive', 'large WebP'])
})

t.test('messages arrive whole, however they are cut', async (t) => {
  const sent = [
    frame({ a: 1 }, Buffer.from('pixels')),
    frame({ b: 2 }, new Uint8Array()),
    frame({}, Buffer.from('x')),
  ]
  const bytes = Buffer.concat(sent.flat())
  for (const size of [1, 2, 7, 8, 9, 20, bytes.length]) {
    const got: [object, string][] = []
    const reader = new FrameReader<object>((head, body) => got.push([head, Buffer.from(body).toString()]))
    for (let at = 0; at < bytes.length; at += size) reader.take(bytes.subarray(at, at + size))
    t.same(
      got,
      [
        [{ a: 1 }, 'pixels'],
        [{ b: 2 }, ''],
        [{}, 'x'],
      ],
      `${size} bytes at once`,
    )
  }
})
