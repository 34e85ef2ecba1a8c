/**
 * Colour profiles (ICC.1:2022) by hand, from the smallest to those that take as long as may be; and images that have them.
 *
 * `steps` is the kind that no size bounds: a list of curves of many segments, in which all entries name the same one. The
 * service refuses it.
 */
import { crc32, deflateSync } from 'node:zlib'
import { u16, u32 } from './big-endian.js'
import { picture } from './content.js'
import { type Kind, type Parameters, shapes, sides } from './kind.js'

export const profileKinds = ['matrix', 'curves', 'table', 'curves and table', 'steps'] as const
export type ProfileKind = (typeof profileKinds)[number]

const choices = {
  megapixels: [0.01, 1, 4, 12, 24],
  aspect: shapes.aspect,
  profile: profileKinds,
  /** Of a table, the places along each side; of others, in proportion. */
  grid: [33, 2, 9, 17, 65, 87],
} as const
const corners: readonly Parameters[] = [
  {},
  { profile: 'curves' },
  { profile: 'table', grid: 87 },
  { profile: 'curves and table', grid: 87 },
  { profile: 'curves and table', grid: 33, megapixels: 12 },
  { profile: 'steps' },
]

export const profiledJpeg: Kind = {
  format: 'jpeg',
  choices,
  corners,
  async make(parameters) {
    const { width, height } = sides(parameters, 65_500)
    const file = await (await picture('soft', width, height)).jpeg().toBuffer()
    return withProfile(file, made(parameters))
  },
}

export const profiledPng: Kind = {
  format: 'png',
  choices,
  corners,
  async make(parameters) {
    const { width, height } = sides(parameters)
    const file = await (await picture('flat', width, height)).png({ compressionLevel: 1 }).toBuffer()
    const name = Buffer.from('profile\0\0', 'latin1')
    const data = Buffer.concat([Buffer.from('iCCP'), name, deflateSync(made(parameters))])
    const chunk = Buffer.concat([u32(data.length - 4), data, u32(crc32(data))])
    const afterHeader = 33
    return Buffer.concat([file.subarray(0, afterHeader), chunk, file.subarray(afterHeader)])
  },
}

function made({ profile, grid }: Parameters): Buffer {
  return rgbProfile(profile as ProfileKind, Number(grid))
}

/** A JPEG with a profile, in as many segments as it takes. */
export function withProfile(jpeg: Buffer, profile: Buffer): Buffer {
  const most = 65_000
  const count = Math.ceil(profile.length / most)
  const segments = Array.from({ length: count }, (_, i) => {
    const part = profile.subarray(i * most, (i + 1) * most)
    const head = Buffer.concat([Buffer.from('ICC_PROFILE\0', 'latin1'), Buffer.from([i + 1, count])])
    return Buffer.concat([Buffer.from([0xff, 0xe2]), u16(2 + head.length + part.length), head, part])
  })
  return Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2)])
}

/** A profile of RGB, as large as the grid says. */
export function rgbProfile(kind: ProfileKind, grid: number): Buffer {
  const entries = kind === 'curves' ? Math.min(65_530, grid * 700) : 256
  const curve = kind === 'matrix' ? power : tabulated(entries)
  const tags: [string, Buffer][] = [
    ['wtpt', xyz(0.9642, 1, 0.8249)],
    ['rXYZ', xyz(0.5151, 0.2412, -0.0011)],
    ['gXYZ', xyz(0.2919, 0.6922, 0.0419)],
    ['bXYZ', xyz(0.1571, 0.0666, 0.7841)],
    ...['rTRC', 'gTRC', 'bTRC'].map((name): [string, Buffer] => [name, curve]),
  ]
  if (kind === 'table') tags.push(['A2B0', table(grid)])
  if (kind === 'curves and table') tags.push(['A2B0', curvesAndTable(grid)])
  if (kind === 'steps') tags.push(['D2B0', steps(1000, 60 * grid)])
  return assembled(tags, kind.endsWith('table') ? 'Lab ' : 'XYZ ')
}

function assembled(tags: readonly [name: string, data: Buffer][], connection: string): Buffer {
  const places = new Map<Buffer, number>()
  const parts: Buffer[] = []
  let end = 132 + 12 * tags.length
  const entries = tags.map(([name, data]) => {
    if (!places.has(data)) {
      places.set(data, end)
      parts.push(padded(data))
      end += padded(data).length
    }
    return Buffer.concat([Buffer.from(name), u32(places.get(data)!), u32(data.length)])
  })
  const head = Buffer.alloc(128)
  head.writeUInt32BE(end, 0)
  head.writeUInt32BE(0x04_30_00_00, 8)
  head.write(`mntrRGB ${connection}`, 12, 'latin1')
  head.write('acsp', 36, 'latin1')
  fixed(0.9642, 1, 0.8249).copy(head, 68)
  return Buffer.concat([head, u32(tags.length), ...entries, ...parts])
}

const power = typed('para', u16(3), u16(0), fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))

function tabulated(entries: number): Buffer {
  return typed('curv', u32(entries), ramp(entries))
}

/** From 0 to the most. */
function ramp(entries: number): Buffer {
  const values = Buffer.alloc(2 * entries)
  for (let i = 0; i < entries; i++)
    values.writeUInt16BE(Math.round((i * 65_535) / Math.max(1, entries - 1)), 2 * i)
  return values
}

function table(grid: number): Buffer {
  const identity = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
  const curves = Array<Buffer>(3).fill(ramp(256))
  const head = [Buffer.from([3, 3, grid, 0]), identity, u16(256), u16(256)]
  return typed('mft2', ...head, ...curves, corners3(grid), ...curves)
}

/** Curves, a table, curves, a matrix, and curves. */
function curvesAndTable(grid: number): Buffer {
  const three = Array<Buffer>(3).fill(padded(power))
  const points = Buffer.concat([Buffer.alloc(16).fill(grid, 0, 3), Buffer.from([2, 0, 0, 0]), corners3(grid)])
  const matrix = fixed(1, 0.01, 0, 0, 1, 0.01, 0.01, 0, 1, 0, 0, 0)
  const parts = [Buffer.concat(three), matrix, Buffer.concat(three), points, Buffer.concat(three)].map(padded)
  const start = (index: number) => parts.slice(0, index).reduce((at, { length }) => at + length, 32)
  const offsets = parts.map((_, index) => u32(start(index)))
  return typed('mAB ', Buffer.from([3, 3, 0, 0]), ...offsets, ...parts)
}

/** The places of a table of three inputs: each holds its own coordinates. */
function corners3(grid: number): Buffer {
  const values = Buffer.alloc(6 * grid ** 3)
  const value = (index: number) => Math.round((index * 65_280) / Math.max(1, grid - 1))
  let at = 0
  for (let r = 0; r < grid; r++)
    for (let g = 0; g < grid; g++)
      for (let b = 0; b < grid; b++)
        for (const index of [r, g, b]) at = values.writeUInt16BE(value(index), at)
  return values
}

/** A list that names one step again and again: curves of so many segments for three channels. */
function steps(times: number, segments: number): Buffer {
  const breaks = Buffer.alloc(4 * (segments - 1))
  for (let i = 1; i < segments; i++) breaks.writeFloatBE(i / segments, 4 * (i - 1))
  const segment = typed('parf', u16(0), u16(0), ...[1, 1, 0, 0].map(float))
  const curve = typed('curf', u16(segments), u16(0), breaks, ...Array<Buffer>(segments).fill(segment))
  const three = Array<Buffer>(3).fill(Buffer.concat([u32(36), u32(curve.length)]))
  const step = typed('cvst', u16(3), u16(3), ...three, curve)
  const place = Buffer.concat([u32(16 + 8 * times), u32(step.length)])
  return typed('mpet', u16(3), u16(3), u32(times), ...Array<Buffer>(times).fill(place), step)
}

function typed(name: string, ...content: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(name, 'latin1'), Buffer.alloc(4), ...content])
}

function xyz(...values: readonly number[]): Buffer {
  return typed('XYZ ', fixed(...values))
}

/** Numbers with 16 bits behind the point. */
function fixed(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [i, value] of values.entries()) bytes.writeInt32BE(Math.round(value * 65_536), 4 * i)
  return bytes
}

function float(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatBE(value)
  return bytes
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((4 - (data.length % 4)) % 4)])
}
