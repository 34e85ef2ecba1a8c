/** What may go on after its deadline is decoded in a process that can be killed, and is killed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import sharp from 'sharp'
import t from 'tap'
import { FrameReader, frame } from '../src/image/apart/frames.js'
import { type Child, DecodeProcess, environment } from '../src/image/apart/process.js'
import { DecodeProcesses, type DecodeProcessesOptions } from '../src/image/apart/processes.js'
import { decodeImage, openImage } from '../src/image/decode.js'
import { startDecoder, startDecoderAloud } from './decoder.js'
import { fixture, input, refusal } from './images.js'
import { ManualClock, settle } from './manual-clock.js'

const limits = { maxPixels: 50_000_000 }
const avif = fixture('colour.avif')

/** Processes, stopped when the test ends, and those that they started. */
function processesOf(
  t: { teardown(end: () => Promise<void>): void },
  options: Partial<DecodeProcessesOptions> = {},
) {
  const clock = new ManualClock()
  const children: Child[] = []
  const ends: string[] = []
  const { start = startDecoder, ...more } = options
  const processes = new DecodeProcesses({
    clock,
    ended: (reason) => ends.push(reason),
    start: () => {
      const child = start()
      children.push(child)
      return child
    },
    ...more,
  })
  t.teardown(() => processes.stop())
  return { processes, clock, children, ends }
}

/** Starts a process that runs this instead of the decoder. */
const running = (code: string) => (): Child =>
  spawn(process.execPath, ['-e', code], { stdio: ['pipe', 'pipe', 'inherit'] })

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
  const { processes, children } = processesOf(t, { cpuMs: 1 })
  const error = await refusal(processes.decode(large, input))
  t.match(error, { code: 'image_too_large', status: 413, message: /more than 0.001 s of CPU time/ })
  if (children[0]!.signalCode === null) await once(children[0]!, 'exit')
  t.equal(children[0]!.signalCode, 'SIGKILL')
})

t.test('an image that is not decoded a second after its deadline ends with its process', async (t) => {
  const { processes, clock, children, ends } = processesOf(t, {
    start: running('setInterval(() => {}, 1e6)'),
  })
  const first = refusal(processes.decode(avif, input, { timeoutMs: 3000 }))
  clock.advance(3999)
  await settle()
  t.equal(children[0]!.killed, false)
  clock.advance(1)
  t.match(await first, { code: 'deadline_exceeded', status: 504 })
  if (children[0]!.signalCode === null) await once(children[0]!, 'exit')
  t.equal(children[0]!.signalCode, 'SIGKILL')
  const second = refusal(processes.decode(avif, input))
  t.equal(children.length, 2, 'the next image has a process of its own')
  clock.advance(11_000)
  t.match(await second, { code: 'deadline_exceeded' }, 'without a deadline after ten seconds')
  t.same(ends, [], 'nobody is told of ends that were wanted')
})

t.test('a decoder that crashes refuses its image; one that somebody kills does not', async (t) => {
  const dying = (signal: string) =>
    running(`process.stdin.once('data', () => process.kill(process.pid, '${signal}'))`)
  const crash = processesOf(t, { start: dying('SIGSEGV') })
  const crashed = await refusal(crash.processes.decode(avif, input))
  t.match(crashed, { code: 'undecodable_image', message: /made its decoder crash \(SIGSEGV\)/ })
  const killed = processesOf(t, { start: dying('SIGKILL') })
  const lost = await refusal(killed.processes.decode(avif, input))
  t.match(lost, { code: 'decoder_unavailable', status: 503, retryAfter: 1, message: /ended \(SIGKILL\)/ })
  await settle()
  t.same([crash.ends, killed.ends], [['SIGSEGV'], ['SIGKILL']])
  t.same([crash.processes.size, killed.processes.size], [0, 0])
})

t.test('a process that cannot be started, or ends at once, is 503', async (t) => {
  const none = processesOf(t, {
    start: () => spawn('/nowhere/node', [], { stdio: ['pipe', 'pipe', 'inherit'] }),
  })
  t.match(await refusal(none.processes.decode(avif, input)), {
    code: 'decoder_unavailable',
    message: /cannot start \(.*ENOENT/,
  })
  const ends = processesOf(t, { start: running('process.exit(3)') })
  t.match(await refusal(ends.processes.decode(avif, input)), {
    code: 'decoder_unavailable',
    message: /ended \(exit 3\)/,
  })
})

t.test('a process that ended while it had nothing to do is not used again', async (t) => {
  const { processes, children } = processesOf(t)
  await processes.decode(avif, input)
  children[0]!.kill('SIGKILL')
  await once(children[0]!, 'close')
  t.ok(await processes.decode(avif, input))
  t.equal(children.length, 2)
})

t.test('of processes without work one is kept, the others are ended after half a minute', async (t) => {
  const { processes, clock, children } = processesOf(t)
  processes.warm()
  t.equal(children.length, 1)
  await Promise.all([processes.decode(avif, input), processes.decode(avif, input)])
  t.equal(children.length, 2, 'the one that was started before is used')
  clock.advance(29_999)
  t.equal(processes.size, 2)
  clock.advance(1)
  await Promise.race(children.map((child) => once(child, 'close')))
  t.equal(processes.size, 1)
  clock.advance(1e6)
  await settle()
  t.equal(processes.size, 1)
  t.ok(await processes.decode(avif, input))
  t.equal(children.length, 2)
})

t.test('at the end all processes are ended, and their images answered', async (t) => {
  const { processes, children } = processesOf(t, { start: running('setInterval(() => {}, 1e6)') })
  const waiting = refusal(processes.decode(avif, input))
  await processes.stop()
  t.match(await waiting, { code: 'draining', status: 503 })
  t.equal(children[0]!.signalCode, 'SIGKILL')
  t.match(await refusal(processes.decode(avif, input)), { code: 'draining' })
})

t.test('an image whose client has left starts no process', async (t) => {
  const { processes, children } = processesOf(t)
  const error = await refusal(processes.decode(avif, input, { signal: AbortSignal.abort() }))
  t.match(error, { code: 'client_closed' })
  t.equal(children.length, 0)
})

t.test('the process ends at once with the service that started it', async (t) => {
  const child = startDecoder()
  child.stdin.end()
  await once(child, 'close')
  t.equal(child.signalCode, 'SIGKILL', 'it does not wait for a codec')
})

t.test('the process opens no debugger at SIGUSR1', async (t) => {
  const child = startDecoderAloud()
  let said = ''
  child.stderr.on('data', (bytes: Buffer) => {
    said += bytes.toString()
  })
  const decoder = new DecodeProcess(child as unknown as Child)
  const job = { input, cpuMs: 60_000 }
  await decoder.decode(job, avif)
  child.kill('SIGUSR1')
  await decoder.decode(job, avif)
  child.stdin.end()
  await decoder.gone
  t.equal(said, '')
})

t.test('the process is given no token', async (t) => {
  const allocator = { LD_PRELOAD: 'libjemalloc.so.2', MALLOC_MMAP_THRESHOLD_: '1048576' }
  t.same(environment({ FACET_ADMIN_TOKEN: 'secret', PATH: '/bin', ...allocator }), allocator)
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
