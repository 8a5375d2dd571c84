"""The one camera and the one light under which every layer is path-traced; needs `bpy`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector
from mesh import Mesh

SPAN = 2.72
"""Width of a picture of 240 pixels in the units of the meshes: a bowl's radius is about one."""
ELEVATION = np.radians(56)

# roughness, specular, coat, subsurface radius, metallic, alpha
MATERIALS = {
    "matte": (0.60, 0.30, 0.0, 0.0, 0, 1),
    "soft": (0.34, 0.50, 0.30, 0.012, 0, 1),
    "wet": (0.24, 0.50, 0.45, 0.010, 0, 1),
    "leaf": (0.34, 0.45, 0.20, 0.006, 0, 1),
    "waxy": (0.28, 0.55, 0.60, 0.008, 0, 1),
    "glaze": (0.16, 0.50, 1.00, 0.0, 0, 1),
    "liquid": (0.04, 0.50, 0.60, 0.0, 0, 1),
    "wood": (0.50, 0.30, 0.0, 0.0, 0, 1),
    "cloth": (0.85, 0.15, 0.0, 0.0, 0, 1),
    "iron": (0.38, 0.50, 0.10, 0.0, 0, 1),
    "steel": (0.22, 0.50, 0.0, 0.0, 1, 1),
    "glass": (0.04, 0.60, 1.00, 0.0, 0, 0.22),
    "jelly": (0.06, 0.60, 0.90, 0.05, 0, 1),
}


def _material(name: str) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = nodes["Principled BSDF"]
    colour = nodes.new("ShaderNodeVertexColor")
    colour.layer_name = "colour"
    links.new(colour.outputs["Color"], shader.inputs["Base Color"])
    roughness, specular, coat, subsurface, metallic, alpha = MATERIALS[name]
    values = {"Roughness": roughness, "Specular IOR Level": specular, "Coat Weight": coat, "Coat Roughness": 0.06}
    values |= {"Metallic": metallic, "Alpha": alpha}
    if subsurface:
        shader.inputs["Subsurface Radius"].default_value = (1, 0.5, 0.3)
        values |= {"Subsurface Weight": 0.5, "Subsurface Scale": 2 * subsurface}
    for key, value in values.items():
        shader.inputs[key].default_value = value
    return material


class Studio:
    """Holds the scene; `shoot` renders meshes to a PNG."""

    def __init__(self) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self._configure()
        self.materials = {name: _material(name) for name in MATERIALS}
        self._light((-6.0, 5.4, 7.4), 6.8, 1500, (1, 0.92, 0.80))
        self._light((7.2, -3.4, 6.0), 5.2, 170, (0.90, 0.94, 1))
        world = bpy.data.worlds.new("room")
        world.use_nodes = True
        world.node_tree.nodes["Background"].inputs[0].default_value = (0.50, 0.47, 0.43, 1)
        self.scene.world = world
        camera = bpy.data.cameras.new("camera")
        camera.type = "ORTHO"
        self.camera = bpy.data.objects.new("camera", camera)
        self.scene.collection.objects.link(self.camera)
        self.scene.camera = self.camera

    def _configure(self) -> None:
        scene, cycles = self.scene, self.scene.cycles
        scene.render.engine = "CYCLES"
        cycles.device, cycles.use_adaptive_sampling, cycles.sample_clamp_indirect = "CPU", False, 6.0
        cycles.max_bounces, cycles.diffuse_bounces = 5, 3
        cycles.use_denoising, cycles.denoiser, cycles.denoising_prefilter = True, "OPENIMAGEDENOISE", "FAST"
        scene.render.threads_mode, scene.render.threads = "FIXED", 1
        scene.view_settings.view_transform, scene.view_settings.exposure = "Khronos PBR Neutral", 0.0
        scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"

    def _light(self, place: tuple[float, float, float], size: float, power: float, colour: tuple[float, ...]) -> None:
        light = bpy.data.lights.new("light", "AREA")
        light.size, light.energy, light.color = size, power, colour
        holder = bpy.data.objects.new("light", light)
        self.scene.collection.objects.link(holder)
        _aim(holder, place, (0, 0, 0.3))

    def shoot(
        self,
        path: Path,
        meshes: Iterable[Mesh],
        *,
        pixels: int,
        samples: int,
        height: float = 0,
        ground: Mesh | None = None,
        hidden: Iterable[Mesh] = (),
        table: bool = True,
        opaque: bool = False,
    ) -> None:
        """Render with `height` in the middle of the picture; `ground` and the table only catch shadows, and what is
        `hidden` shades and covers but is not seen."""
        for mesh in [o.data for o in self.scene.objects if o.type == "MESH"]:
            bpy.data.meshes.remove(mesh)
        for mesh in meshes:
            self._add(mesh)
        for mesh in hidden:
            self._add(mesh).is_holdout = True
        if table and not opaque:
            self._add(ground or plane()).is_shadow_catcher = True
        self.camera.data.ortho_scale = SPAN * pixels / 240
        _aim(self.camera, (0, -8 * np.cos(ELEVATION), height + 8 * np.sin(ELEVATION)), (0, 0, height))
        render = self.scene.render
        render.resolution_x = render.resolution_y = pixels
        render.film_transparent, self.scene.cycles.samples, render.filepath = not opaque, samples, str(path)
        bpy.ops.render.render(write_still=True)

    def _add(self, mesh: Mesh) -> bpy.types.Object:
        data = bpy.data.meshes.new("mesh")
        count = len(mesh.faces)
        data.vertices.add(len(mesh.vertices))
        data.vertices.foreach_set("co", np.asarray(mesh.vertices, np.float32).ravel())
        data.loops.add(3 * count)
        data.loops.foreach_set("vertex_index", np.ascontiguousarray(mesh.faces, np.int32).ravel())
        data.polygons.add(count)
        data.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
        data.polygons.foreach_set("use_smooth", np.ones(count, bool))
        rgba = np.concatenate([mesh.colours.clip(0, 1), np.ones((len(mesh.colours), 1))], 1).astype(np.float32)
        data.color_attributes.new("colour", "FLOAT_COLOR", "POINT").data.foreach_set("color", rgba.ravel())
        data.update()
        data.validate()
        holder = bpy.data.objects.new("mesh", data)
        data.materials.append(self.materials[mesh.material])
        self.scene.collection.objects.link(holder)
        return holder


def _aim(holder: bpy.types.Object, place: tuple[float, ...], target: tuple[float, ...]) -> None:
    holder.location = place
    holder.rotation_euler = (Vector(target) - Vector(place)).to_track_quat("-Z", "Y").to_euler()


def plane(height: float = 0, radius: float = 6) -> Mesh:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * radius
    points = np.concatenate([corners, np.full((4, 1), height)], 1)
    return Mesh(points, np.array([[0, 1, 2], [0, 2, 3]]), np.full((4, 3), 0.4), "matte")
